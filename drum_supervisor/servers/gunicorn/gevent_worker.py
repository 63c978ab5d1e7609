"""The gevent worker of the built-in server, imported only when chosen.

gevent has patched the standard library when the worker runs, so the threads of our server are greenlets. The whole
process has one thread: while a prediction computes, or blocks in a call which gevent does not patch, neither probes nor
the stop are handled.
"""

import socket

from gunicorn.workers.ggevent import GeventWorker

from drum_supervisor.servers.gunicorn.worker import DrainingWorker
from drum_supervisor.servers.wsgi.connection import IO_TIMEOUT_SECONDS
from drum_supervisor.servers.wsgi.server import ThreadedServer


class _GeventServer(ThreadedServer):
    def prepare(self, connection: socket.socket) -> None:
        connection.settimeout(IO_TIMEOUT_SECONDS)


class DrainingGeventWorker(DrainingWorker, GeventWorker):
    """A worker with a greenlet per connection; it answers everything accepted before it exits."""

    server_type = _GeventServer
