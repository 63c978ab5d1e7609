"""Connections that wait for a request: which have waited for too long, and which give way when it is crowded."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from drum_supervisor.http.encoding import CROWDED_PATIENCE


class Waiting:
    """Knows since when each connection waits: for the head of a request, or, idle, for its first byte.

    The threads of the connections tell it, and the one that accepts asks it. To give a connection up is to end its
    reading: a request that is there already is still answered.

    Args:
        head_seconds: how long a client may take for the head of a request.
        idle_seconds: how long a connection may be idle between two requests.
        now: the clock.
    """

    def __init__(self, head_seconds: float, idle_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._now = now
        self._lock = threading.Lock()
        self._idle: dict[socket.socket, float] = {}  # the longest first, both
        self._heads: dict[socket.socket, float] = {}

    def head_begins(self, connection: socket.socket) -> None:
        """A connection is new, or a part of the head of another request has arrived; only the first time counts."""
        with self._lock:
            self._idle.pop(connection, None)
            self._heads.setdefault(connection, self._now())

    def head_is_here(self, connection: socket.socket) -> None:
        """The client no longer has to hurry."""
        with self._lock:
            self._idle.pop(connection, None)
            self._heads.pop(connection, None)

    def becomes_idle(self, connection: socket.socket, since: float | None = None) -> None:
        """A request is answered, and nothing of another one has arrived.

        Args:
            since: when the last of the answer was sent; its client may know of it earlier than we get here.
        """
        with self._lock:
            self._idle[connection] = self._now() if since is None else since

    # A connection that is about to be closed has its head here or is gone: its descriptor may be another's soon.
    forget = head_is_here

    def end_late(self) -> None:
        """Give up those that have waited for too long."""
        now = self._now()
        self._end(self._heads, now - self._head_seconds)
        self._end(self._idle, now - self._idle_seconds)

    def end_all(self) -> None:
        """Give up all of them."""
        self._end(self._heads, self._now())
        self._end(self._idle, self._now())

    def make_room(self) -> bool:
        """Give one up, an idle one if possible, and say whether there was any to give up.

        None has to go before its request could have come, sent when the client got the answer to its last one.
        """
        patience = self._now() - CROWDED_PATIENCE
        return self._end(self._idle, patience, 1) or self._end(self._heads, patience, 1)

    def until_too_late(self) -> float:
        """Return for how many seconds nobody has waited for too long, also of those who begin to wait now."""
        begin_now = min(self._head_seconds, self._idle_seconds)
        soonest = self._soonest(self._head_seconds, self._idle_seconds)
        return begin_now if soonest is None else min(soonest, begin_now)

    def until_room(self) -> float | None:
        """Return in how many seconds `make_room` succeeds if nobody's request arrives; None: there is nobody."""
        return self._soonest(CROWDED_PATIENCE, CROWDED_PATIENCE)

    def _soonest(self, head_seconds: float, idle_seconds: float) -> float | None:
        with self._lock:
            moments = [since + head_seconds for since in _first(self._heads)]
            moments += [since + idle_seconds for since in _first(self._idle)]
        return max(min(moments) - self._now(), 0.0) if moments else None

    def _end(self, connections: dict[socket.socket, float], waiting_since: float, most: int | None = None) -> bool:
        with self._lock:
            late = [connection for connection, since in connections.items() if since <= waiting_since][:most]
            for connection in late:
                del connections[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        return bool(late)


def _first(connections: dict[socket.socket, float]) -> list[float]:
    return [next(iter(connections.values()))] if connections else []
