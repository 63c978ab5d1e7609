"""The server of the stand-in, which must answer within milliseconds of its start.

It reads a head, answers, and discards the rest: one request per connection, 30 seconds for all of it.
"""

# Small, because it must start quickly: `selector_server` reads whole requests, and takes four times as long to import.

import selectors
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress

from drum_supervisor.servers.acceptor import NEVER, Acceptor, cap_connections

MAX_CONNECTIONS = 1000
MAX_HEAD = 64 * 1024
LIFETIME = 30.0  # seconds per connection

# After a stop: how long a client may be silent, and how long all clients together may take.
SILENT_GRACE = 1.0
LONGEST_GRACE = 5.0

_READ_SIZE = 64 * 1024


class StandInServer:
    """Serves on `listener`.

    Args:
        respond: returns the whole response to a head, which may be malformed; must not block.
        max_connections: with one more, the oldest connection is closed.
        lifetime: maximum age of a connection, in seconds.
    """

    def __init__(
        self,
        listener: socket.socket,
        respond: Callable[[bytes], bytes],
        max_connections: int = MAX_CONNECTIONS,
        lifetime: float = LIFETIME,
    ) -> None:
        self._respond = respond
        self._max_connections = cap_connections(max_connections)
        self._lifetime = lifetime
        self._selector = selectors.DefaultSelector()
        self._tasks: dict[socket.socket, Generator[int, None, None]] = {}  # oldest first
        self._deadlines: dict[socket.socket, float] = {}
        self._stop_deadline = 0.0  # set by a stop
        self._acceptor = Acceptor(listener, self._selector, self._open)

    def run(self, stop: int) -> None:
        """Serve until the descriptor `stop` is readable; then answer everything accepted."""
        self._selector.register(stop, selectors.EVENT_READ, lambda: self._stop(stop))
        while self._tasks or not self._stop_deadline:
            soonest = min([*self._deadlines.values(), self._acceptor.resumes_at])
            timeout = max(soonest - time.monotonic(), 0) if soonest < NEVER else None
            for key, _ in self._selector.select(timeout):
                key.data()
            self._expire(time.monotonic())

    def _open(self, connection: socket.socket) -> None:
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._resume(connection))
        self._tasks[connection] = _handle_connection(connection, self._respond)
        self._deadlines[connection] = time.monotonic() + self._lifetime
        if len(self._tasks) > self._max_connections:
            self._drop(next(iter(self._tasks)))
        self._resume(connection)

    def _resume(self, connection: socket.socket) -> None:
        task = self._tasks.get(connection)
        if task is None:
            return  # dropped by another event of the same select()
        try:
            self._selector.modify(connection, next(task), lambda: self._resume(connection))
        except (StopIteration, OSError):
            self._drop(connection)
        except Exception:  # noqa: BLE001 - one request must not end the server
            sys.excepthook(*sys.exc_info())
            self._drop(connection)
        else:
            if self._stop_deadline:
                self._deadlines[connection] = min(time.monotonic() + SILENT_GRACE, self._stop_deadline)

    def _expire(self, now: float) -> None:
        for connection in [connection for connection, end in self._deadlines.items() if end <= now]:
            self._drop(connection)
        self._acceptor.resume_if_due(now)

    def _stop(self, stop: int) -> None:
        now = time.monotonic()
        self._stop_deadline = now + LONGEST_GRACE
        self._selector.unregister(stop)
        self._acceptor.close()
        self._deadlines = dict.fromkeys(self._deadlines, now + SILENT_GRACE)

    def _drop(self, connection: socket.socket) -> None:
        del self._tasks[connection], self._deadlines[connection]
        self._selector.unregister(connection)
        connection.close()


def _handle_connection(connection: socket.socket, respond: Callable[[bytes], bytes]) -> Generator[int, None, None]:
    """Read a head, answer, and wait until the client has read the response; yield the events to wait for."""
    head, is_complete = bytearray(), False
    while not is_complete:
        data = yield from _receive(connection)
        if not data:
            return
        head += data
        end = head[-len(data) - 3 :]
        is_complete = b"\n\r\n" in end or b"\n\n" in end or len(head) > MAX_HEAD
    left = memoryview(respond(bytes(head)))
    while left:
        with suppress(BlockingIOError):
            left = left[connection.send(left) :]
            continue
        yield selectors.EVENT_WRITE
    # Closing a socket with unread data resets the connection, and may lose a response in transit.
    connection.shutdown(socket.SHUT_WR)
    while (yield from _receive(connection)):
        pass


def _receive(connection: socket.socket) -> Generator[int, None, bytes]:
    while True:
        with suppress(BlockingIOError):
            return connection.recv(_READ_SIZE)
        yield selectors.EVENT_READ
