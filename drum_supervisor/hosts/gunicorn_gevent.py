"""gunicorn's gevent worker, with what it lacks: it loses no connection. Imported only when it is chosen.

The model, as everything in this process, has one thread: while a prediction computes, or waits where gevent does not
know of it, nothing else happens here, neither probes nor the stop.
"""

import os
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gevent.pool import Pool
from gevent.select import select
from gevent.server import StreamServer
from gunicorn.workers.ggevent import GeventWorker

from drum_supervisor.fronts.wire import PIECE, wait_for_close
from drum_supervisor.hosts.gunicorn_stopping import (
    CLOSING_SECONDS,
    FOR_OTHERS,
    SILENT_GRACE,
    StoppableWorker,
    end_reading,
)


class Worker(StoppableWorker, GeventWorker):
    """gunicorn's gevent worker, which answers all that it has accepted before it stops."""

    def run(self) -> None:
        connections = Pool(self.worker_connections)
        servers = [
            StreamServer(each, handle=partial(self.handle, _Named(each)), spawn=connections) for each in self.sockets
        ]
        for server in servers:
            server.start()
        self.app.progress.become_ready()
        while self.stop_began is None:
            self.notify()
            self.end_slow_heads(excess=len(connections) - (connections.size - FOR_OTHERS))
            self._wait(1.0)
        for server in servers:
            server.close()
        self._drain(connections, self.stop_began)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        self.heads[client] = time.monotonic()
        try:
            super().handle(listener, client, addr)
        finally:
            self.heads.pop(client, None)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        self.heads.pop(sock, None)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self.count()
            wait_for_close(sock, CLOSING_SECONDS)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        super().handle_error(req, client, addr, exc)
        wait_for_close(client, CLOSING_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Wait for a signal, each writes a byte into the pipe, or for `wake`."""
        if select([self.PIPE[0]], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self.PIPE[0], PIECE)

    def _drain(self, connections: Pool, began: float) -> None:
        while connections and (seconds := time.monotonic() - began) < self.app.drain_seconds:
            self.notify()
            self.end_slow_heads(excess=0)
            if seconds > SILENT_GRACE:
                for connection in self.heads.copy():
                    end_reading(connection)
            connections.join(timeout=min(1.0, self.app.drain_seconds - seconds))


class _Named:
    """A listener's name: gunicorn asks for it at each request, also when the stop has closed the listener."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        return self._name
