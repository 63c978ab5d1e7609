"""A service under each framework: its front on its host, imported only when it is chosen."""

import socket
from collections.abc import Callable
from functools import partial

from drum_supervisor.hosts.process import StopSignals
from drum_supervisor.services.messages import Service

Serve = Callable[[socket.socket, StopSignals, Callable[[], None], float], None]
"""Takes the listener, the stop signals, what to call when ready, and the seconds for draining."""


def fastapi(service: Service) -> Serve:
    """Return what serves `service` with FastAPI on uvicorn."""
    from drum_supervisor.fronts import fastapi_front  # noqa: PLC0415
    from drum_supervisor.hosts import uvicorn_host  # noqa: PLC0415

    return partial(uvicorn_host.serve, fastapi_front.create_app(service))


def flask(service: Service) -> Serve:
    """Return what serves `service` with Flask on werkzeug's server."""
    from drum_supervisor.fronts import flask_front  # noqa: PLC0415
    from drum_supervisor.hosts import werkzeug_host  # noqa: PLC0415

    return partial(werkzeug_host.serve, flask_front.create_app(service))
