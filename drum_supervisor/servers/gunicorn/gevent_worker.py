"""The gevent worker of the built-in server, imported only when chosen.

gevent has patched the standard library when the worker runs, so that its threads are greenlets. The whole process has
one thread: while a prediction computes, or blocks in a call which gevent does not patch, neither probes nor the stop
are handled.
"""

from gevent import monkey
from gunicorn.workers.ggevent import GeventWorker

from drum_supervisor.servers.gunicorn.worker import DrainingWorker
from drum_supervisor.servers.wsgi.connection import IO_TIMEOUT_SECONDS, Connection


class _GeventConnection(Connection):
    # gevent waits itself, whatever the kernel's limits and flags

    def limit_blocking_calls(self) -> None:
        self.sock.settimeout(IO_TIMEOUT_SECONDS)

    def receive_now(self) -> bytes:
        self.sock.settimeout(0)
        try:
            return super().receive_now()
        finally:
            self.sock.settimeout(IO_TIMEOUT_SECONDS)


class DrainingGeventWorker(DrainingWorker, GeventWorker):
    """A worker with a greenlet per request; it answers everything accepted before it exits."""

    connection_type = _GeventConnection

    def init_process(self) -> None:
        self.patch()  # before the threaded worker creates its selector
        super().init_process()

    def patch(self) -> None:
        if not monkey.is_module_patched("socket"):
            super().patch()
