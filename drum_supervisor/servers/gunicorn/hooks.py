"""gunicorn's hooks, which run the context of a worker, for the built-in server and for any WSGI application."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from werkzeug.wsgi import ClosingIterator

from drum_supervisor.config.gunicorn import GunicornParameters
from drum_supervisor.contract.exits import UsageError


def settings(parameters: GunicornParameters) -> dict[str, Any]:
    """Return gunicorn's settings by name, without unset ones; raise UsageError if the worker class cannot be used."""
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
        "control_socket_disable": True,  # gunicorn 27 opens one at a path which all servers of a user share
        "post_worker_init": post_worker_init,
        "worker_exit": worker_exit,
    }
    return {name: value for name, value in values.items() if value is not None}


def check_worker_class(parameters: GunicornParameters) -> None:
    """Raise UsageError if gevent is chosen but is missing, or too old for this gunicorn."""
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
    """Start the context of `worker` as `worker.ctx`: the built-in application's own, or a new one."""
    app = worker.wsgi
    worker.ctx = getattr(worker.app, "worker_ctx", None) or _new_context(worker)
    if _is_flask(app):
        app.extensions["worker_ctx"] = worker.ctx
    worker.ctx.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop and clean up the context of `worker`, if it has one."""
    # gunicorn calls this in the exiting worker, and in the master for workers which have already exited
    context = getattr(worker, "ctx", None)
    if context is not None:
        context.stop()
        context.cleanup()


def _new_context(worker: Any) -> Any:
    # Imported after the fork: by now gevent has patched the modules on which asyncio depends.
    from drum_supervisor.stdout_flusher import StdoutFlusher  # noqa: PLC0415
    from drum_supervisor.worker_context import WorkerCtx  # noqa: PLC0415

    context = WorkerCtx(worker.wsgi)
    flusher = StdoutFlusher()
    flusher.start()
    context.defer_cleanup(flusher.stop, order=-1, desc="stdout flusher")
    worker.wsgi = _observe(worker.wsgi, flusher.set_last_activity_time)
    return context


def _is_flask(app: Any) -> bool:
    return callable(getattr(app, "after_request", None)) and isinstance(getattr(app, "extensions", None), dict)


def _observe(app: Any, on_activity: Callable[[], None]) -> Any:
    """Return an application which calls `on_activity` when a response begins and after its last byte."""
    if not _is_flask(app):
        return _NotifyingApp(app, on_activity)

    def after_request(response: Any) -> Any:
        on_activity()
        response.call_on_close(on_activity)
        return response

    try:
        app.after_request(after_request)
    except AssertionError:  # Flask raises it once the application has handled a request, from a test client for example
        return _NotifyingApp(app, on_activity)
    return app


class _NotifyingApp:
    def __init__(self, app: Callable[..., Any], on_activity: Callable[[], None]) -> None:
        self._app = app
        self._on_activity = on_activity

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        result = self._app(environ, start_response)
        self._on_activity()
        if isinstance(result, environ.get("wsgi.file_wrapper", ())):
            return result  # unwrapped, so that gunicorn can use sendfile
        return ClosingIterator(result, self._on_activity)
