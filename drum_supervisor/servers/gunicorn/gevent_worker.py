"""gunicorn's gevent worker for the built-in server. Imported only when it is chosen.

gevent has patched the standard library when the worker runs: our server's threads are greenlets then. The model, as
everything in this process, has one thread: while a prediction computes, or waits where gevent does not know of it,
nothing else happens here, neither probes nor the stop.
"""

import socket

from gunicorn.workers.ggevent import GeventWorker

from drum_supervisor.servers.gunicorn import worker
from drum_supervisor.servers.wsgi.connection import PATIENCE_SECONDS
from drum_supervisor.servers.wsgi.server import Server


class _Server(Server):
    def prepare(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_SECONDS)


class Worker(worker.Worker, GeventWorker):
    """A worker with a greenlet for each connection, which answers all that it has accepted before it ends."""

    server_type = _Server
