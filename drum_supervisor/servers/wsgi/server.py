"""Accepts connections, and answers the requests of each in a thread of its own."""

import logging
import math
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from drum_supervisor.contract.listener import address_of
from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.http.encoding import HEAD_SECONDS, KEEP_ALIVE_SECONDS, READ_SIZE
from drum_supervisor.servers.wsgi.connection import IO_TIMEOUT_SECONDS, Connection
from drum_supervisor.servers.wsgi.idle import IdleConnections
from drum_supervisor.services.executor import BoundedExecutor

MAX_CONNECTIONS = 256

# How long a stop waits for a request which has not arrived.
SILENT_GRACE = 1.0

# After the system had no descriptors or threads for another connection.
_ACCEPT_PAUSE = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits for connections."""

    drain_seconds: float  # how long requests already received may take after the stop
    head_seconds: float = HEAD_SECONDS  # how long a client may take to send the head of a request
    # How long a connection waits for its next request; 0: close after each response.
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    # At this number, connections are closed after each response, and a new connection evicts the one which has been
    # idle longest, or else the slowest to send its head; without either, accepting pauses.
    max_connections: int = MAX_CONNECTIONS


class ThreadedServer:
    """Serves on a non-blocking listener; after `stop` it answers everything accepted.

    `run_once` accepts connections and closes expired ones; the rest happens in the connections' threads. These wake the
    main thread only if it waits for a connection to end: each wake-up costs them, and the model, the interpreter lock.
    """

    def __init__(
        self, app: Application, listener: socket.socket, limits: ConnectionLimits, is_multiprocess: bool = False
    ) -> None:
        self._app = app
        self._listener = listener
        self._limits = limits
        self._common = common_environ(listener, is_multiprocess)
        self._idle = IdleConnections(limits.head_seconds, limits.keep_alive_seconds or math.inf)
        self._threads = BoundedExecutor(limits.max_connections, name="connection")
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._is_accepting = False
        self._pause_ends = 0.0
        self._stopped_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self.watch(self._wake, self._read_wakeup)
        if listener.family != socket.AF_UNIX:  # inherited by connections: no delay for responses in pieces
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Release everything but the connections."""
        self._threads.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def watch(self, source: Any, call: Callable[[], object]) -> None:
        """Call `call` in `run_once` when `source` is readable."""
        self._selector.register(source, selectors.EVENT_READ, call)

    def prepare(self, connection: socket.socket) -> None:
        """Limit each receive and send of a new connection to IO_TIMEOUT_SECONDS."""
        # in the kernel: Python's `settimeout` adds a second system call to each
        patience = struct.pack("@ll", IO_TIMEOUT_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)

    def run_once(self, longest: float | None = None) -> None:
        """Wait for events for at most `longest` seconds, and handle them."""
        self._update_accepting()
        for key, _ in self._selector.select(self._select_timeout(longest)):
            key.data()
        if self._stopped_at is not None and time.monotonic() - self._stopped_at >= SILENT_GRACE:
            self._idle.close_all()
        self._idle.close_expired()

    def stop(self) -> None:
        """Stop accepting, and close each connection after its response; keep calling `run_once` while `is_draining`."""
        self._stopped_at = time.monotonic()
        self._update_accepting()
        self._listener.close()

    def is_draining(self) -> bool:
        """Return whether connections are left, within the time for draining."""
        is_over = self._stopped_at is not None and time.monotonic() - self._stopped_at > self._limits.drain_seconds
        return bool(self._connections) and not is_over

    def may_keep(self) -> bool:
        """Return whether a connection may stay open after its response."""
        is_wanted = self._stopped_at is None and self._limits.keep_alive_seconds > 0
        return is_wanted and len(self._connections) < self._limits.max_connections

    def _select_timeout(self, longest: float | None) -> float | None:
        """Return the seconds until the next time limit."""
        now = time.monotonic()
        seconds = [longest, self._idle.seconds_to_expiry() if self._connections else None]
        if self._stopped_at is not None:
            ends = (self._stopped_at + SILENT_GRACE, self._stopped_at + self._limits.drain_seconds)
            seconds += [end - now for end in ends if end > now]
        elif now < self._pause_ends:
            seconds.append(self._pause_ends - now)
        elif not self._is_accepting:
            seconds.append(self._idle.seconds_to_eviction())
        return min((each for each in seconds if each is not None), default=None)

    def _update_accepting(self) -> None:
        may_accept = self._stopped_at is None and time.monotonic() >= self._pause_ends
        with self._lock:  # a connection which closes after this sees the new flag
            before = self._is_accepting
            has_room = len(self._connections) < self._limits.max_connections
            self._is_accepting = may_accept and (has_room or self._idle.seconds_to_eviction() == 0)
        if self._is_accepting and not before:
            self.watch(self._listener, self._accept)
        if before and not self._is_accepting:
            self._selector.unregister(self._listener)

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # another process was faster, or the client has gone
        except OSError as error:
            self._pause(error)
            return
        with self._lock:
            self._connections.add(connection)
            is_full = len(self._connections) > self._limits.max_connections
        if is_full:
            self._idle.evict_one()
        self._idle.start_head(connection)
        try:
            self._threads.submit(partial(self._handle_connection, connection, address))
        except RuntimeError as error:  # the system has no more threads
            self._forget(connection)
            connection.close()
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        # the system has no resources for another connection
        _log.warning("Cannot accept a connection: %s", error)
        self._idle.evict_one()
        self._pause_ends = time.monotonic() + _ACCEPT_PAUSE

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        try:
            self.prepare(connection)
            common = {**self._common, **client_environ(address)}
            Connection(connection, self._app, common, self._idle, self.may_keep).run()
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._idle.forget(connection)
        with self._lock:
            self._connections.discard(connection)
            is_waited_for = not self._is_accepting
        if is_waited_for:
            with suppress(OSError):  # a wake-up is already pending, or the server is closed
                self._waker.send(b"\0")

    def _read_wakeup(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(READ_SIZE)


def common_environ(listener: socket.socket, is_multiprocess: bool) -> dict[str, Any]:
    """Return the part of the environ shared by all requests."""
    address = address_of(listener)
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": is_multiprocess,
        "wsgi.run_once": False,
        "SCRIPT_NAME": "",
        "SERVER_NAME": address.host or "localhost",
        "SERVER_PORT": str(address.port),
        "SERVER_SOFTWARE": "drum_supervisor",
    }


def client_environ(address: Any) -> dict[str, str]:
    """Return the part of the environ shared by a client's requests; clients of a unix socket have no address."""
    host, port = address[:2] if isinstance(address, tuple) else ("", 0)
    return {"REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
