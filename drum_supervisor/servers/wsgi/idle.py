"""Connections which wait for a request: closed after a time limit, or to make room for others."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from drum_supervisor.http.encoding import EVICTION_GRACE


class IdleConnections:
    """Records since when each connection waits: for the rest of a head, or, when idle, for the first byte of one.

    The connections' threads report to it, and the accepting thread queries it. Closing a connection here shuts down
    its receiving side: a request which has already arrived is still answered.
    """

    def __init__(self, head_seconds: float, idle_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self._now = now
        self._lock = threading.Lock()
        self._idle: dict[socket.socket, float] = {}  # both oldest first
        self._heads: dict[socket.socket, float] = {}

    def start_head(self, connection: socket.socket) -> None:
        """Record that the connection is new, or that part of a head has arrived; only the first call counts."""
        with self._lock:
            self._idle.pop(connection, None)
            self._heads.setdefault(connection, self._now())

    def finish_head(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle.pop(connection, None)
            self._heads.pop(connection, None)

    def start_idle(self, connection: socket.socket, since: float | None = None) -> None:
        """Record that a request is answered, at `since`, and nothing of the next one has arrived."""
        with self._lock:
            self._idle[connection] = self._now() if since is None else since

    # Before a connection is closed: the kernel may soon reuse its descriptor.
    forget = finish_head

    def close_expired(self) -> None:
        now = self._now()
        self._close(self._heads, now - self._head_seconds)
        self._close(self._idle, now - self._idle_seconds)

    def close_all(self) -> None:
        self._close(self._heads, self._now())
        self._close(self._idle, self._now())

    def evict_one(self) -> bool:
        """Close one connection, an idle one if possible; return whether there was any to close."""
        # a request which the client sent on receipt of the last response must be able to arrive
        latest = self._now() - EVICTION_GRACE
        return self._close(self._idle, latest, 1) or self._close(self._heads, latest, 1)

    def seconds_to_expiry(self) -> float:
        """Return the seconds until the first time limit expires, new connections included."""
        if_new = min(self._head_seconds, self._idle_seconds)
        soonest = self._soonest(self._head_seconds, self._idle_seconds)
        return if_new if soonest is None else min(soonest, if_new)

    def seconds_to_eviction(self) -> float | None:
        """Return the seconds until `evict_one` can succeed; None without waiting connections."""
        return self._soonest(EVICTION_GRACE, EVICTION_GRACE)

    def _soonest(self, head_seconds: float, idle_seconds: float) -> float | None:
        with self._lock:
            moments = [since + head_seconds for since in _first(self._heads)]
            moments += [since + idle_seconds for since in _first(self._idle)]
        return max(min(moments) - self._now(), 0.0) if moments else None

    def _close(self, connections: dict[socket.socket, float], latest: float, most: int | None = None) -> bool:
        with self._lock:
            late = [connection for connection, since in connections.items() if since <= latest][:most]
            for connection in late:
                del connections[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        return bool(late)


def _first(connections: dict[socket.socket, float]) -> list[float]:
    return [next(iter(connections.values()))] if connections else []
