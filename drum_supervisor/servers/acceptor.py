"""Accepting connections beside a selector, for fronts that have one thread; the stand-in loads this, so it is lean."""

import resource
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

NEVER = float("inf")

_RESERVED_DESCRIPTORS = 32  # those that are no connections
_ACCEPT_PAUSE = 0.5  # when the system has no descriptors or memory for another connection


def room(wanted: int) -> int:
    """Return how many connections there may be: as many as are wanted, if there are descriptors for them."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - _RESERVED_DESCRIPTORS)


class Door:
    """Lets connections in until it is closed; where the system has no room for another one, it rests.

    Args:
        listener: does not block.
        selector: calls what it is given as data.
        let_in: takes each connection, which does not block.

    Attributes:
        opens_at: when it will have rested; NEVER while there is nothing to wait for.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        let_in: Callable[[socket.socket], None],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._let_in = let_in
        self._is_closed = False
        self.opens_at = NEVER
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def open_if_rested(self, now: float) -> None:
        """Accept again, if it is time for that."""
        if now >= self.opens_at:
            self.opens_at = NEVER
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Let nobody in any more, and close the listener."""
        self._is_closed = True
        self.opens_at = NEVER
        with suppress(KeyError):  # it rests
            self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        if self._is_closed:
            return  # in the same turn
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # a sibling was faster, or the client has gone
        except OSError:
            self._selector.unregister(self._listener)
            self.opens_at = time.monotonic() + _ACCEPT_PAUSE
            return
        connection.setblocking(False)
        self._let_in(connection)
