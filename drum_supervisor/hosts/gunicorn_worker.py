"""gunicorn's threaded worker, with what it lacks: it loses no connection, and slow clients keep nobody waiting."""

import os
import selectors
import socket
import time
from contextlib import suppress
from typing import Any

import gunicorn.http.message
from gunicorn.workers.gthread import ThreadWorker

from drum_supervisor.fronts.wire import HEAD_SECONDS, PIECE, wait_for_close
from drum_supervisor.hosts.gunicorn_stopping import (
    CLOSING_SECONDS,
    FOR_OTHERS,
    SILENT_GRACE,
    StoppableWorker,
    end_reading,
)

# Each takes one connection, from its first byte to its answer. How many predictions run at once is the application's.
THREADS = 256

# gunicorn 27 keeps connections for so many seconds more when their request has not arrived after 5 seconds; after its
# answer each is closed. Before 22 only a zero does that.
KEEP_ALIVE = round(HEAD_SECONDS) if hasattr(gunicorn.http.message.Message, "force_close") else 0

# How long a worker has fewer connections after it ran out of descriptors.
FULL_SECONDS = 10.0


class Worker(StoppableWorker, ThreadWorker):
    """gunicorn's threaded worker, which answers all that it has accepted before it stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._full_at = -FULL_SECONDS
        self._silent: dict[socket.socket, float] = {}  # connections of which nothing has arrived, and since when

    def run(self) -> None:
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, lambda fd: os.read(fd, PIECE))
        self.app.progress.become_ready()
        super().run()

    def notify(self) -> None:
        """Also look after connections: gunicorn calls this in each turn of its loop, at least once a second."""
        super().notify()
        now = time.monotonic()
        polled = [key.fileobj for key in self.poller.get_map().values()]
        self._silent = {each: self._silent.get(each, now) for each in polled if isinstance(each, socket.socket)}
        if self.stop_began is not None:
            self._drain(now - self.stop_began)
        elif now - self._full_at > FULL_SECONDS:
            self.worker_connections = self.cfg.worker_connections
        self._make_room()
        for connection, began in self._silent.items():
            if now - began > self.app.options.head_seconds:
                end_reading(connection)

    def accept(self, *args: Any) -> None:
        try:
            super().accept(*args)
        except OSError as error:
            # Out of descriptors, for which gunicorn would end the worker. It needs up to two for a connection.
            self.log.warning("Cannot accept a connection: %s", error)
            self._full_at, self.worker_connections = time.monotonic(), max(self.nr_conns // 2, 1)
        self._make_room()

    def handle(self, conn: Any) -> Any:
        self.heads[conn.sock] = time.monotonic()
        try:
            result = super().handle(conn)
        finally:
            self.heads.pop(conn.sock, None)
        if result is False or (isinstance(result, tuple) and not result[0]):
            # gunicorn 27 waits for the client in the one thread that accepts, 2 seconds each; older ones close at once
            wait_for_close(conn.sock, CLOSING_SECONDS)
            end_reading(conn.sock)
        return result

    def handle_request(self, req: Any, conn: Any) -> Any:
        self.heads.pop(conn.sock, None)
        if KEEP_ALIVE:
            req.force_close()
        try:
            return super().handle_request(req, conn)
        finally:
            self.count()

    def _make_room(self) -> None:
        self.end_slow_heads(excess=self.nr_conns - (THREADS - FOR_OTHERS))

    def _drain(self, seconds: float) -> None:
        if hasattr(self, "set_accept_enabled"):
            self.worker_connections = 0  # its loop stops to accept
        else:  # gunicorn before 25
            for listener in self.sockets:
                with suppress(KeyError):
                    self.poller.unregister(listener)
        if seconds > SILENT_GRACE:
            for connection in [*self.heads.copy(), *self._silent]:
                end_reading(connection)
        if self.nr_conns == 0 or seconds > self.app.drain_seconds:
            self.cfg.set("graceful_timeout", 0)  # gunicorn would begin to wait now; ours is over
            self.alive = False
            self.wake()  # the loop is about to wait
