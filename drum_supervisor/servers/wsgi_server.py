"""Runs a WSGI application in this process, on a threaded server."""

# Not on werkzeug's: it closes each connection after one response, and a new one costs more than answering a probe.

from contextlib import closing

from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.servers.process import ServerConfig, shorten_pauses
from drum_supervisor.servers.wsgi.server import MAX_CONNECTIONS, ConnectionLimits, ThreadedServer


def serve(
    app: Application,
    config: ServerConfig,
    max_connections: int = MAX_CONNECTIONS,
    keep_alive_seconds: float = ConnectionLimits.keep_alive_seconds,
) -> None:
    """Serve `app` until a stop is requested, then answer everything accepted; see `ConnectionLimits`."""
    limits = ConnectionLimits(config.drain_seconds, config.head_seconds, keep_alive_seconds, max_connections)
    with closing(ThreadedServer(app, config.listener, limits)) as server:
        server.watch(config.stop, config.stop.read_wakeup)
        shorten_pauses()
        config.on_ready()
        while not config.stop.requested:
            server.run_once()
        server.stop()
        while server.is_draining():
            server.run_once()
