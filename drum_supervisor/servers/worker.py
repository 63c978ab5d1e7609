"""A worker: a service on an application, with all that lives as long as the worker does."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.servers import frameworks
from drum_supervisor.servers.process import StopSignals
from drum_supervisor.services.model import ModelService
from drum_supervisor.stdout_flusher import StdoutFlusher
from drum_supervisor.telemetry import Telemetry
from drum_supervisor.worker_context import FastAPIWorkerCtx, WorkerCtx

# What the context waits for after the host has drained: only answers that took longer than they may.
_LAST_SECONDS = 1.0


class Worker:
    """Puts a service on an application, and lets a context begin and end what belongs to it.

    Args:
        service: what is served.
        telemetry: is told of each request.
        server_type: `flask`, or else FastAPI; of the application that is made when there is none.
        app: the application of somebody else's server.
        context: of somebody else's worker, who starts and stops it; without one the worker has its own.
        on_answer: called after the last byte of each answer.
        extend: lets the user's code extend the application; given `flask` or `fastapi`, and the application.

    Attributes:
        context: the `WorkerCtx` or `FastAPIWorkerCtx`.
    """

    def __init__(
        self,
        service: ModelService,
        telemetry: Telemetry,
        server_type: str,
        app: Any = None,
        context: Any = None,
        on_answer: Callable[[], None] = lambda: None,
        extend: Callable[[str, Any], None] = lambda framework, app: None,
    ) -> None:
        is_flask = server_type == "flask" if app is None else hasattr(app, "wsgi_app")
        front, self._host = frameworks.flask() if is_flask else frameworks.fastapi()
        if app is None:
            app = front.create_app(service)
        else:
            front.mount(app, service)
        extend("flask" if is_flask else "fastapi", app)  # before anything is put around it
        self._app = app
        self._own_context: Any = None
        if context is None:
            context = self._own_context = WorkerCtx(app) if is_flask else _in_lifespan(app)
        self.context = context
        flusher = self._flusher()

        def on_activity() -> None:
            flusher.set_last_activity_time()
            on_answer()

        in_flight = getattr(context, "request", nullcontext)
        front.observe(app, Observer(service.route_name, telemetry, on_activity, in_flight))
        if isinstance(self._own_context, WorkerCtx):
            self._own_context.start()  # FastAPI's is started by its lifespan

    def serve(
        self, listener: socket.socket, stop: StopSignals, on_ready: Callable[[], None], drain_seconds: float
    ) -> None:
        """Serve until a stop is asked for and all that was accepted is answered."""
        self._host.serve(self._app, listener, stop, on_ready, drain_seconds)

    def end(self) -> None:
        """Stop and clean up, unless somebody else does; FastAPI's lifespan may have done so already."""
        if isinstance(self._own_context, WorkerCtx):
            self._own_context.stop()
            self._own_context.cleanup()
        elif self._own_context is not None:
            asyncio.run(_end(self._own_context))

    def _flusher(self) -> StdoutFlusher:
        flusher = StdoutFlusher()
        self.context.defer_cleanup(flusher.stop, order=-1, desc="stdout flusher")
        flusher.start()
        return flusher


def _in_lifespan(app: Any) -> FastAPIWorkerCtx:
    from drum_supervisor.fronts import fastapi_front  # noqa: PLC0415

    context = FastAPIWorkerCtx(app, drain_seconds=_LAST_SECONDS)
    fastapi_front.add_lifespan(app, context.lifespan)
    return context


async def _end(context: FastAPIWorkerCtx) -> None:
    await context.stop()
    await context.cleanup()
