"""Runs a WSGI application on werkzeug's server: one thread a connection, one request a connection."""

import itertools
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

from werkzeug.serving import ThreadedWSGIServer

from drum_supervisor.contract.listener import address_of
from drum_supervisor.fronts.wire import CROWDED_PATIENCE, HEAD_SECONDS, PIECE, wait_for_close
from drum_supervisor.hosts.process import StopSignals
from drum_supervisor.hosts.werkzeug_handler import Handler

MAX_CONNECTIONS = 256
CLOSING_SECONDS = 2.0

# How long a stop waits for a request that has not arrived.
SILENT_GRACE = 1.0

_ACCEPT_PAUSE = 0.5


def serve(
    app: Any,
    listener: socket.socket,
    stop: StopSignals,
    on_ready: Callable[[], None],
    drain_seconds: float,
    max_connections: int = MAX_CONNECTIONS,
    head_seconds: float = HEAD_SECONDS,
) -> None:
    """Serve `app` on `listener` until a stop is asked for, and then until all that was accepted is answered.

    Args:
        on_ready: called when connections are accepted.
        drain_seconds: how long requests that have arrived may take after the stop.
        max_connections: if there are as many, the one that keeps us waiting for its head the longest is given up for
            the next one; if none does, nothing is accepted until there is room.
        head_seconds: how long a client may take for the head of its request.
    """
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        server = _Server(app, listener, selector, max_connections, head_seconds)
        stack.callback(server.close)
        selector.register(stop, selectors.EVENT_READ)
        on_ready()
        while not stop.requested:
            server.turn()
        selector.unregister(stop)
        server.drain(drain_seconds)


class _Server(ThreadedWSGIServer):
    def __init__(
        self,
        app: Any,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        max_connections: int,
        head_seconds: float,
    ) -> None:
        address = address_of(listener)
        super().__init__(
            f"unix://{address.path}" if address.path else address.host, 0, app, Handler, fd=listener.fileno()
        )
        self._listener = listener
        self._selector = selector
        self._max_connections = max_connections
        self._head_seconds = head_seconds
        self._accepts = False
        self._pause_ends = 0.0
        self._changed = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._heads: dict[socket.socket, float] = {}  # connections whose head has not arrived, and since when
        self._finished, self._finish = os.pipe()  # a byte for each connection that has ended
        os.set_blocking(self._finished, False)
        os.set_blocking(self._finish, False)
        selector.register(self._finished, selectors.EVENT_READ)

    def turn(self) -> None:
        """Wait for something to do and do it."""
        self._accept_or_not()
        for key, _ in self._selector.select(self._timeout()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd == self._finished:
                with suppress(BlockingIOError):
                    os.read(self._finished, PIECE)
        self._give_up_heads(time.monotonic() - self._head_seconds)

    def drain(self, seconds: float) -> None:
        """Accept no more, and wait until every connection is answered."""
        deadline = time.monotonic() + seconds
        self._listener.close()
        self.socket.close()
        with self._changed:
            self._changed.wait_for(lambda: not self._heads, SILENT_GRACE)
        self._give_up_heads(time.monotonic())
        with self._changed:
            self._changed.wait_for(lambda: not self._connections, deadline - time.monotonic())

    def close(self) -> None:
        """Give back what is no connection."""
        self.server_close()
        with self._changed:
            os.close(self._finished)
            os.close(self._finish)
            self._finish = -1

    def head_arrived(self, connection: socket.socket) -> None:
        """Know that `connection` no longer has to hurry."""
        with self._changed:
            self._heads.pop(connection, None)
            self._changed.notify_all()

    def shutdown_request(self, request: Any) -> None:
        wait_for_close(request, CLOSING_SECONDS)
        request.close()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        with self._changed:
            oldest = list(itertools.islice(self._heads.values(), 1))
        moments = [began + self._head_seconds for began in oldest]
        if now < self._pause_ends:
            moments.append(self._pause_ends)
        elif not self._accepts:
            moments += [began + CROWDED_PATIENCE for began in oldest]
        return max(min(moments) - now, 0) if moments else None

    def _accept_or_not(self) -> None:
        now = time.monotonic()
        with self._changed:
            can_make_room = any(now - began >= CROWDED_PATIENCE for began in itertools.islice(self._heads.values(), 1))
            has_room = len(self._connections) < self._max_connections or can_make_room
        accepts = has_room and now >= self._pause_ends
        if accepts and not self._accepts:
            self._selector.register(self._listener, selectors.EVENT_READ)
        if self._accepts and not accepts:
            self._selector.unregister(self._listener)
        self._accepts = accepts

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # a sibling was faster, or the client has gone
        except OSError:
            self._pause_ends = time.monotonic() + _ACCEPT_PAUSE
            return
        connection.setblocking(True)
        with self._changed:
            self._connections.add(connection)
            self._heads[connection] = time.monotonic()
            is_full = len(self._connections) > self._max_connections
            oldest = next(iter(self._heads))
            if is_full and oldest is not connection:
                del self._heads[oldest]
                _end(oldest)
        try:
            threading.Thread(target=self._converse, args=(connection, address), daemon=True).start()
        except RuntimeError:  # no more threads
            self._forget(connection)
            connection.close()
            self._pause_ends = time.monotonic() + _ACCEPT_PAUSE

    def _converse(self, connection: socket.socket, address: Any) -> None:
        try:
            self.process_request_thread(connection, address)
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._heads.pop(connection, None)
            self._changed.notify_all()
            if self._finish >= 0:
                with suppress(BlockingIOError):
                    os.write(self._finish, b"\0")

    def _give_up_heads(self, begun_before: float) -> None:
        with self._changed:
            late = [connection for connection, began in self._heads.items() if began <= begun_before]
            for connection in late:
                del self._heads[connection]
        for connection in late:
            _end(connection)


def _end(connection: socket.socket) -> None:
    """Make the thread that reads `connection` come to its end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
