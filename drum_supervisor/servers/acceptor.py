"""Accepting connections in a selector loop. The stand-in loads this module, so it imports little."""

import resource
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress

NEVER = float("inf")

_RESERVED_DESCRIPTORS = 32  # for everything but connections
_PAUSE_SECONDS = 0.5  # after the system had no descriptors or memory for another connection


def cap_connections(wanted: int) -> int:
    """Return `wanted`, or fewer if the process may not open as many descriptors."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - _RESERVED_DESCRIPTORS)


class Acceptor:
    """Accepts connections until it is closed; pauses when the system has no resources for another one.

    Args:
        listener: non-blocking.
        selector: the data of its keys are callables.
        on_connection: called with each new connection, which is non-blocking.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        on_connection: Callable[[socket.socket], None],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._on_connection = on_connection
        self._is_closed = False
        self.resumes_at = NEVER  # the end of a pause
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def resume_if_due(self, now: float) -> None:
        if now >= self.resumes_at:
            self.resumes_at = NEVER
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        self._is_closed = True
        self.resumes_at = NEVER
        with suppress(KeyError):  # paused
            self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        if self._is_closed:
            return  # by another event of the same select()
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # another process was faster, or the client has gone
        except OSError:
            self._selector.unregister(self._listener)
            self.resumes_at = time.monotonic() + _PAUSE_SECONDS
            return
        connection.setblocking(False)
        self._on_connection(connection)
