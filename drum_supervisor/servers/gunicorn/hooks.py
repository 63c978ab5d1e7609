"""The context of a gunicorn worker: what gunicorn's hooks do, for the built-in server and for any WSGI application."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from werkzeug.wsgi import ClosingIterator

from drum_supervisor.config.gunicorn import GunicornParameters
from drum_supervisor.contract.exits import UsageError


def settings(parameters: GunicornParameters) -> dict[str, Any]:
    """Return the configuration of gunicorn by the names of its settings; what is not set is left out.

    Raises:
        UsageError: the worker class cannot be used.
    """
    check_worker_class(parameters)
    values = {
        "workers": parameters.workers,
        "backlog": parameters.backlog,
        "timeout": parameters.timeout,
        "max_requests": parameters.max_requests,
        "max_requests_jitter": parameters.max_requests_jitter,
        "worker_class": parameters.worker_class,
        "graceful_timeout": parameters.graceful_timeout,
        "keepalive": parameters.keep_alive,
        "loglevel": parameters.log_level,
        "control_socket_disable": True,  # newer gunicorns open one, at a path that all share; older ones do not know it
        "post_worker_init": post_worker_init,
        "worker_exit": worker_exit,
    }
    return {name: value for name, value in values.items() if value is not None}


def check_worker_class(parameters: GunicornParameters) -> None:
    """Raise a UsageError if gevent is asked for and is not there, or too old for this gunicorn."""
    if parameters.worker_class != "gevent":
        return
    try:
        import_module("gunicorn.workers.ggevent")
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"DRUM_GUNICORN_WORKER_CLASS: gevent cannot be used here: {error}. "
            'Run: pip install "gunicorn[gevent]", or choose sync.'
        ) from error


def post_worker_init(worker: Any) -> None:
    """Start the context of `worker`, as `worker.ctx`: the application's own, or a new one for somebody else's."""
    app = worker.wsgi
    worker.ctx = getattr(worker.app, "worker_ctx", None) or _new_context(worker)
    if _is_flask(app):
        app.extensions["worker_ctx"] = worker.ctx
    worker.ctx.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop and clean up the context of `worker`, if it has come so far.

    gunicorn calls this in the worker when it ends, and in the master for workers that are gone already.
    """
    context = getattr(worker, "ctx", None)
    if context is not None:
        context.stop()
        context.cleanup()


def _new_context(worker: Any) -> Any:
    # Here, after the fork: gevent has patched asyncio's modules by now, which they import.
    from drum_supervisor.stdout_flusher import StdoutFlusher  # noqa: PLC0415
    from drum_supervisor.worker_context import WorkerCtx  # noqa: PLC0415

    context = WorkerCtx(worker.wsgi)
    flusher = StdoutFlusher()
    flusher.start()
    context.defer_cleanup(flusher.stop, order=-1, desc="stdout flusher")
    worker.wsgi = _observed(worker.wsgi, flusher.set_last_activity_time)
    return context


def _is_flask(app: Any) -> bool:
    return callable(getattr(app, "after_request", None)) and isinstance(getattr(app, "extensions", None), dict)


def _observed(app: Any, answered: Callable[[], None]) -> Any:
    """Return an application that calls `answered` after each answer, and when the last piece of it is sent."""
    if not _is_flask(app):
        return _Observed(app, answered)

    def after_request(response: Any) -> Any:
        answered()
        response.call_on_close(answered)
        return response

    try:
        app.after_request(after_request)
    except AssertionError:  # Flask's answer when the application has had a request, of a test client for example
        return _Observed(app, answered)
    return app


class _Observed:
    """A WSGI application that says when an answer begins and when it ends."""

    def __init__(self, app: Callable[..., Any], answered: Callable[[], None]) -> None:
        self._app = app
        self._answered = answered

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        result = self._app(environ, start_response)
        self._answered()
        if isinstance(result, environ.get("wsgi.file_wrapper", ())):
            return result  # gunicorn sends it by sendfile, if it can see what it is
        return ClosingIterator(result, self._answered)
