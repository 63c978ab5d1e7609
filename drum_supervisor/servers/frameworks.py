"""The web frameworks behind one interface: each a front and its host, imported only when chosen."""

import socket
from collections.abc import Callable
from typing import Any, Protocol

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.http.messages import Service
from drum_supervisor.servers.process import StopSignals


class Front(Protocol):
    """What a front offers; the modules `fronts.fastapi_front` and `fronts.flask_front` are such."""

    def create_app(self, service: Service, name: str = ..., /) -> Any: ...
    def mount(self, app: Any, service: Service) -> None: ...
    def observe(self, app: Any, observer: Observer) -> None: ...


class Host(Protocol):
    """What a host offers; the modules `uvicorn_server` and `wsgi_server` are such."""

    def serve(
        self,
        app: Any,
        listener: socket.socket,
        stop: StopSignals,
        on_ready: Callable[[], None],
        drain_seconds: float,
    ) -> None: ...


def fastapi() -> tuple[Front, Host]:
    """Return FastAPI and uvicorn."""
    from drum_supervisor.fronts import fastapi_front  # noqa: PLC0415
    from drum_supervisor.servers import uvicorn_server  # noqa: PLC0415

    return fastapi_front, uvicorn_server


def flask() -> tuple[Front, Host]:
    """Return Flask and our server of threads."""
    from drum_supervisor.fronts import flask_front  # noqa: PLC0415
    from drum_supervisor.servers import wsgi_server  # noqa: PLC0415

    return flask_front, wsgi_server
