"""gunicorn's threaded worker, with what it lacks: it loses no connection, and slow clients keep nobody waiting."""

import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from types import FrameType
from typing import Any

import gunicorn.http.message
from gunicorn.workers.gthread import ThreadWorker

from drum_supervisor.fronts.wire import CROWDED_PATIENCE, HEAD_SECONDS, PIECE, wait_for_close
from drum_supervisor.hosts.process import STOP_SIGNALS

# Each takes one connection, from its first byte to its answer. How many predictions run at once is the application's.
THREADS = 256

# How long a stop waits for a request that has not arrived.
SILENT_GRACE = 1.0

# How long a client may take to close after its answer: it has one of the threads meanwhile.
CLOSING_SECONDS = 1.0

# gunicorn 27 keeps connections for so many seconds more when their request has not arrived after 5 seconds; after its
# answer each is closed. Before 22 only a zero does that.
KEEP_ALIVE = round(HEAD_SECONDS) if hasattr(gunicorn.http.message.Message, "force_close") else 0

# How long a worker has fewer connections after it ran out of descriptors.
FULL_SECONDS = 10.0

# Threads that clients who are slow with their heads cannot take.
_FOR_OTHERS = 16

STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, which answers all that it has accepted before it stops.

    While the application is loaded, stop signals have their default effect: there is nobody to answer yet, and the
    user's code may be busy where Python sees no signals. Afterwards the worker stays `alive` for gunicorn until it
    has drained, because what gunicorn does then differs from version to version.
    """

    app: Any  # with `progress` and `options`, see gunicorn_host

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_began: float | None = None
        self._full_at = -FULL_SECONDS
        self._heads: dict[socket.socket, float] = {}  # connections whose head is being read, and since when
        self._silent: dict[socket.socket, float] = {}  # those of which nothing has arrived

    def init_signals(self) -> None:
        super().init_signals()
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGQUIT, self.handle_quit)

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
        if self._stop_began is not None:
            self._drain(now - self._stop_began)
        elif now - self._full_at > FULL_SECONDS:
            self.worker_connections = self.cfg.worker_connections
        self._make_room()
        for connection, began in [*self._heads.copy().items(), *self._silent.items()]:
            if now - began > self.app.options.head_seconds:
                _end_reading(connection)

    def accept(self, *args: Any) -> None:
        try:
            super().accept(*args)
        except OSError as error:
            # Out of descriptors, for which gunicorn would end the worker. It needs up to two for a connection.
            self.log.warning("Cannot accept a connection: %s", error)
            self._full_at, self.worker_connections = time.monotonic(), max(self.nr_conns // 2, 1)
        self._make_room()

    def handle(self, conn: Any) -> Any:
        self._heads[conn.sock] = time.monotonic()
        try:
            result = super().handle(conn)
        finally:
            self._heads.pop(conn.sock, None)
        if result is False or (isinstance(result, tuple) and not result[0]):
            # gunicorn 27 waits for the client in the one thread that accepts, 2 seconds each; older ones close at once
            wait_for_close(conn.sock, CLOSING_SECONDS)
            _end_reading(conn.sock)
        return result

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._heads.pop(conn.sock, None)
        if KEEP_ALIVE:
            req.force_close()
        return super().handle_request(req, conn)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # Once is enough: the master and whoever signals the process group may both ask, and more than once.
        if self._stop_began is None:
            self._stop_began = time.monotonic()
            self._wake()

    def _make_room(self) -> None:
        """Give up clients that keep us waiting for their heads, the longest first, when threads run out."""
        excess = max(self.nr_conns - (THREADS - _FOR_OTHERS), 0)
        slow = [each for each, began in self._heads.copy().items() if time.monotonic() - began > CROWDED_PATIENCE]
        for connection in slow[:excess]:
            self._heads.pop(connection, None)
            _end_reading(connection)

    def _drain(self, seconds: float) -> None:
        if hasattr(self, "set_accept_enabled"):
            self.worker_connections = 0  # its loop stops to accept
        else:  # gunicorn before 25
            for listener in self.sockets:
                with suppress(KeyError):
                    self.poller.unregister(listener)
        if seconds > SILENT_GRACE:
            for connection in [*self._heads.copy(), *self._silent]:
                _end_reading(connection)
        if self.nr_conns == 0 or seconds > self.cfg.graceful_timeout:
            self.alive = False
            self._wake()  # the loop is about to wait

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b"\0")


def _end_reading(connection: socket.socket) -> None:
    """Make the thread that reads `connection` come to its end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
