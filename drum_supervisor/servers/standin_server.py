"""The lean front: up in milliseconds, for the stand-in, of which nobody is to wait.

The front of the standard library reads requests whole, and takes four times as long to load for it. This one reads a
head, answers, and throws away what else the client sends: one request a connection, half a minute for all of it. No
typing, no dataclasses, no regular expressions: here they would cost more than they are worth.
"""

import selectors
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress

from drum_supervisor.servers.acceptor import NEVER, Door, room

MAX_CONNECTIONS = 1000
MAX_HEAD = 64 * 1024
LIFETIME = 30.0  # of a connection

# After the stop: how long a client may be silent, and how long all of them may go on.
SILENT_GRACE = 1.0
LONGEST_GRACE = 5.0

_PIECE = 64 * 1024


class LeanFront:
    """Serves on `listener`.

    Args:
        answer: takes the head of a request, which may be anything, and returns the whole answer, at once.
        max_connections: one more, and the oldest is given up.
        lifetime: how long a connection may last.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[bytes], bytes],
        max_connections: int = MAX_CONNECTIONS,
        lifetime: float = LIFETIME,
    ) -> None:
        self._answer = answer
        self._most = room(max_connections)
        self._lifetime = lifetime
        self._selector = selectors.DefaultSelector()
        self._conversations: dict[socket.socket, Generator[int, None, None]] = {}  # the oldest first
        self._ends: dict[socket.socket, float] = {}
        self._end = 0.0  # of all, once it is stopped
        self._door = Door(listener, self._selector, self._begin)

    def run(self, stop: int) -> None:
        """Serve until the descriptor `stop` is readable; then answer all that has been accepted."""
        self._selector.register(stop, selectors.EVENT_READ, lambda: self._stop(stop))
        while self._conversations or not self._end:
            soonest = min([*self._ends.values(), self._door.opens_at])
            timeout = max(soonest - time.monotonic(), 0) if soonest < NEVER else None
            for key, _ in self._selector.select(timeout):
                key.data()
            self._look_at_the_clock(time.monotonic())

    def _begin(self, connection: socket.socket) -> None:
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._resume(connection))
        self._conversations[connection] = _converse(connection, self._answer)
        self._ends[connection] = time.monotonic() + self._lifetime
        if len(self._conversations) > self._most:
            self._drop(next(iter(self._conversations)))
        self._resume(connection)

    def _resume(self, connection: socket.socket) -> None:
        conversation = self._conversations.get(connection)
        if conversation is None:
            return  # dropped in the same turn
        try:
            self._selector.modify(connection, next(conversation), lambda: self._resume(connection))
        except (StopIteration, OSError):
            self._drop(connection)
        except Exception:  # noqa: BLE001 - one request must not end what answers for all others
            sys.excepthook(*sys.exc_info())
            self._drop(connection)
        else:
            if self._end:
                self._ends[connection] = min(time.monotonic() + SILENT_GRACE, self._end)

    def _look_at_the_clock(self, now: float) -> None:
        for connection in [connection for connection, end in self._ends.items() if end <= now]:
            self._drop(connection)
        self._door.open_if_rested(now)

    def _stop(self, asked_by: int) -> None:
        now = time.monotonic()
        self._end = now + LONGEST_GRACE
        self._selector.unregister(asked_by)
        self._door.close()
        self._ends = dict.fromkeys(self._ends, now + SILENT_GRACE)

    def _drop(self, connection: socket.socket) -> None:
        del self._conversations[connection], self._ends[connection]
        self._selector.unregister(connection)
        connection.close()


def _converse(connection: socket.socket, answer: Callable[[bytes], bytes]) -> Generator[int, None, None]:
    """Read a head, answer, and wait until the client has read that; yield the events that are waited for."""
    head, is_complete = bytearray(), False
    while not is_complete:
        data = yield from _receive(connection)
        if not data:
            return
        head += data
        end = head[-len(data) - 3 :]
        is_complete = b"\n\r\n" in end or b"\n\n" in end or len(head) > MAX_HEAD
    left = memoryview(answer(bytes(head)))
    while left:
        with suppress(BlockingIOError):
            left = left[connection.send(left) :]
            continue
        yield selectors.EVENT_WRITE
    # Closing with unread data in the socket would reset the connection, and with it an answer still on its way.
    connection.shutdown(socket.SHUT_WR)
    while (yield from _receive(connection)):
        pass


def _receive(connection: socket.socket) -> Generator[int, None, bytes]:
    """Return what comes next, empty at the end."""
    while True:
        with suppress(BlockingIOError):
            return connection.recv(_PIECE)
        yield selectors.EVENT_READ
