"""A worker: a service on an application, and everything which lives as long as the worker."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.servers import frameworks
from drum_supervisor.servers.process import ServerConfig
from drum_supervisor.services.model import ModelService
from drum_supervisor.stdout_flusher import StdoutFlusher
from drum_supervisor.telemetry import Telemetry
from drum_supervisor.worker_context import FastAPIWorkerCtx, WorkerCtx

# How long the context waits after the server has drained: only requests beyond their time limit are left.
_LAST_SECONDS = 1.0


@dataclass(frozen=True)
class Embedding:
    """What a third-party server brings along; the worker creates what is None."""

    app: Any = None
    context: Any = None  # a `WorkerCtx` or `FastAPIWorkerCtx`, which the server starts and stops itself


class Worker:
    """Puts a service on an application, and starts and stops the context of the worker.

    Args:
        server_type: `flask`, or else FastAPI; ignored if the embedding has an application.
        embedding: the application and context of a third-party server.
        on_answer: called after the last byte of each response.
        extend: extends the application with the user's code; called with `flask` or `fastapi`, and the application.
    """

    def __init__(
        self,
        service: ModelService,
        telemetry: Telemetry,
        server_type: str,
        embedding: Embedding = Embedding(),
        on_answer: Callable[[], None] = lambda: None,
        extend: Callable[[str, Any], None] = lambda framework, app: None,
    ) -> None:
        app = embedding.app
        is_flask = server_type == "flask" if app is None else hasattr(app, "wsgi_app")
        front, self._server = frameworks.flask() if is_flask else frameworks.fastapi()
        if app is None:
            app = front.create_app(service)
        else:
            front.mount(app, service)
        extend("flask" if is_flask else "fastapi", app)  # before the observer wraps it
        self._app = app
        self._own_context: Any = None
        self.context = embedding.context
        if self.context is None:
            self.context = self._own_context = WorkerCtx(app) if is_flask else _create_lifespan_context(app)
        flusher = self._start_flusher()

        def on_activity() -> None:
            flusher.set_last_activity_time()
            on_answer()

        in_flight = getattr(self.context, "request", nullcontext)
        front.observe(app, Observer(service.route_name, telemetry.start_request, on_activity, in_flight))
        if isinstance(self._own_context, WorkerCtx):
            self._own_context.start()  # FastAPI's lifespan starts the other one

    def serve(self, config: ServerConfig) -> None:
        self._server.serve(self._app, config)

    def end(self) -> None:
        """Stop and clean up the worker's own context; FastAPI's lifespan may already have done so."""
        if isinstance(self._own_context, WorkerCtx):
            self._own_context.stop()
            self._own_context.cleanup()
        elif self._own_context is not None:
            asyncio.run(_end(self._own_context))

    def _start_flusher(self) -> StdoutFlusher:
        flusher = StdoutFlusher()
        self.context.defer_cleanup(flusher.stop, order=-1, desc="stdout flusher")
        flusher.start()
        return flusher


def _create_lifespan_context(app: Any) -> FastAPIWorkerCtx:
    from drum_supervisor.fronts import fastapi_front  # noqa: PLC0415

    context = FastAPIWorkerCtx(app, drain_seconds=_LAST_SECONDS)
    fastapi_front.add_lifespan(app, context.lifespan)
    return context


async def _end(context: FastAPIWorkerCtx) -> None:
    await context.stop()
    await context.cleanup()
