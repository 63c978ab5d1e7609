"""The web frameworks behind one interface: each a front and its server, imported only when chosen."""

from typing import Any, Protocol

from drum_supervisor.fronts.observer import Observer
from drum_supervisor.http.messages import Service
from drum_supervisor.servers.process import ServerConfig


class Front(Protocol):
    """Implemented by the modules `fronts.fastapi_front` and `fronts.flask_front`."""

    def create_app(self, service: Service, name: str = ..., /) -> Any: ...
    def mount(self, app: Any, service: Service) -> None: ...
    def observe(self, app: Any, observer: Observer) -> None: ...


class Server(Protocol):
    """Implemented by the modules `uvicorn_server` and `wsgi_server`."""

    def serve(self, app: Any, config: ServerConfig) -> None: ...


def fastapi() -> tuple[Front, Server]:
    from drum_supervisor.fronts import fastapi_front  # noqa: PLC0415
    from drum_supervisor.servers import uvicorn_server  # noqa: PLC0415

    return fastapi_front, uvicorn_server


def flask() -> tuple[Front, Server]:
    from drum_supervisor.fronts import flask_front  # noqa: PLC0415
    from drum_supervisor.servers import wsgi_server  # noqa: PLC0415

    return flask_front, wsgi_server
