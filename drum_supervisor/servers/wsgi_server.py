"""Runs a WSGI application in this process, on a server of threads.

werkzeug's own would close each connection after its answer, and a new one costs more than the answer to a probe.
"""

import socket
from collections.abc import Callable
from contextlib import closing

from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.http.encoding import HEAD_SECONDS, KEEP_ALIVE_SECONDS
from drum_supervisor.servers.process import StopSignals, shorten_pauses
from drum_supervisor.servers.wsgi.server import MAX_CONNECTIONS, Limits, Server


def serve(
    app: Application,
    listener: socket.socket,
    stop: StopSignals,
    on_ready: Callable[[], None],
    drain_seconds: float,
    max_connections: int = MAX_CONNECTIONS,
    head_seconds: float = HEAD_SECONDS,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
) -> None:
    """Serve `app` on `listener` until a stop is asked for, and then until all that was accepted is answered.

    Args:
        on_ready: called when connections are accepted.
        drain_seconds, max_connections, head_seconds, keep_alive_seconds: see `Limits`.
    """
    limits = Limits(drain_seconds, head_seconds, keep_alive_seconds, max_connections)
    with closing(Server(app, listener, limits)) as server:
        server.watch(stop, stop.woken)
        shorten_pauses()
        on_ready()
        while not stop.requested:
            server.turn()
        server.stop()
        while server.is_anybody():
            server.turn()
