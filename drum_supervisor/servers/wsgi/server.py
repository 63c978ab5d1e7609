"""Accepts connections and gives each a thread, in which a WSGI application answers all its requests."""

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
from drum_supervisor.http.encoding import HEAD_SECONDS, KEEP_ALIVE_SECONDS, PIECE
from drum_supervisor.servers.wsgi.connection import PATIENCE_SECONDS, Conversation
from drum_supervisor.servers.wsgi.idle import Waiting
from drum_supervisor.services.executor import Turns

MAX_CONNECTIONS = 256

# How long a stop waits for a request that has not arrived.
SILENT_GRACE = 1.0

# When the system has no descriptors or threads for another connection.
_ACCEPT_PAUSE = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What clients may take.

    Attributes:
        drain_seconds: how long requests that have arrived may take after the stop.
        head_seconds: how long a client may take for the head of its request.
        keep_alive_seconds: how long a connection waits for its next request; 0: each is closed after its answer.
        max_connections: if there are as many, each is closed after its answer, and the one that has been idle the
            longest, or else keeps us waiting for its head, is given up for the next one; if there is none, nothing is
            accepted until there is room.
    """

    drain_seconds: float
    head_seconds: float = HEAD_SECONDS
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    max_connections: int = MAX_CONNECTIONS


class Server:
    """Serves on a non-blocking listener, turn by turn, and after `stop` until everybody has an answer.

    A turn accepts, and gives up who keeps us waiting; all else happens in the threads of the connections. They wake
    the turn only if it waits for one of them to end: it would keep them, and the model, from going on.
    """

    def __init__(
        self, app: Application, listener: socket.socket, limits: Limits, is_one_of_several: bool = False
    ) -> None:
        self._app = app
        self._listener = listener
        self._limits = limits
        self._common = common_environ(listener, is_one_of_several)
        self._waiting = Waiting(limits.head_seconds, limits.keep_alive_seconds or math.inf)
        self._threads = Turns(limits.max_connections, name="connection")
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._accepts = False
        self._pause_ends = 0.0
        self._stopped_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self.watch(self._wake, self._take_wake)
        if listener.family != socket.AF_UNIX:  # what it accepts inherits that: answers in pieces shall not wait
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Give back what is no connection."""
        self._threads.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def watch(self, source: Any, call: Callable[[], object]) -> None:
        """End a turn, and call `call`, when there is something to read from `source`."""
        self._selector.register(source, selectors.EVENT_READ, call)

    def prepare(self, connection: socket.socket) -> None:
        """Let calls of a new connection take PATIENCE_SECONDS at most.

        The kernel does that better than Python, whose `settimeout` makes two system calls of each.
        """
        patience = struct.pack("@ll", PATIENCE_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)

    def turn(self, longest: float | None = None) -> None:
        """Wait for something to do, not longer than `longest`, and do it."""
        self._accept_or_not()
        for key, _ in self._selector.select(self._seconds(longest)):
            key.data()
        if self._stopped_at is not None and time.monotonic() - self._stopped_at >= SILENT_GRACE:
            self._waiting.end_all()
        self._waiting.end_late()

    def stop(self) -> None:
        """Accept no more, and close each connection after its answer; turns go on while there `is_anybody`."""
        self._stopped_at = time.monotonic()
        self._accept_or_not()
        self._listener.close()

    def is_anybody(self) -> bool:
        """Return whether somebody who has an answer to come may still be waited for."""
        is_over = self._stopped_at is not None and time.monotonic() - self._stopped_at > self._limits.drain_seconds
        return bool(self._connections) and not is_over

    def may_keep(self) -> bool:
        """Return whether a connection may be kept after its answer."""
        is_wanted = self._stopped_at is None and self._limits.keep_alive_seconds > 0
        return is_wanted and len(self._connections) < self._limits.max_connections

    def _seconds(self, longest: float | None) -> float | None:
        """Return how long nothing happens unless somebody does something."""
        now = time.monotonic()
        seconds = [longest, self._waiting.until_too_late() if self._connections else None]
        if self._stopped_at is not None:
            ends = (self._stopped_at + SILENT_GRACE, self._stopped_at + self._limits.drain_seconds)
            seconds += [end - now for end in ends if end > now]
        elif now < self._pause_ends:
            seconds.append(self._pause_ends - now)
        elif not self._accepts:
            seconds.append(self._waiting.until_room())
        return min((each for each in seconds if each is not None), default=None)

    def _accept_or_not(self) -> None:
        may_accept = self._stopped_at is None and time.monotonic() >= self._pause_ends
        with self._lock:  # whoever ends from here on sees whether he is waited for
            before = self._accepts
            has_room = len(self._connections) < self._limits.max_connections
            self._accepts = may_accept and (has_room or self._waiting.until_room() == 0)
        if self._accepts and not before:
            self.watch(self._listener, self._accept)
        if before and not self._accepts:
            self._selector.unregister(self._listener)

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # a sibling was faster, or the client has gone
        except OSError as error:
            self._pause(error)
            return
        with self._lock:
            self._connections.add(connection)
            is_full = len(self._connections) > self._limits.max_connections
        if is_full:
            self._waiting.make_room()
        self._waiting.head_begins(connection)
        try:
            self._threads.submit(partial(self._converse, connection, address))
        except RuntimeError as error:  # no more threads
            self._forget(connection)
            connection.close()
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        """The system has no room for another connection."""
        _log.warning("Cannot accept a connection: %s", error)
        self._waiting.make_room()
        self._pause_ends = time.monotonic() + _ACCEPT_PAUSE

    def _converse(self, connection: socket.socket, address: Any) -> None:
        try:
            self.prepare(connection)
            common = {**self._common, **client_environ(address)}
            Conversation(connection, self._app, common, self._waiting, self.may_keep).run()
        finally:
            self._forget(connection)

    def _forget(self, connection: socket.socket) -> None:
        self._waiting.forget(connection)
        with self._lock:
            self._connections.discard(connection)
            is_waited_for = not self._accepts
        if is_waited_for:
            with suppress(OSError):  # it knows already, or is gone
                self._waker.send(b"\0")

    def _take_wake(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(PIECE)


def common_environ(listener: socket.socket, is_one_of_several: bool) -> dict[str, Any]:
    """Return what the environs of all requests have in common."""
    address = address_of(listener)
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": is_one_of_several,
        "wsgi.run_once": False,
        "SCRIPT_NAME": "",
        "SERVER_NAME": address.host or "localhost",
        "SERVER_PORT": str(address.port),
        "SERVER_SOFTWARE": "drum_supervisor",
    }


def client_environ(address: Any) -> dict[str, str]:
    """Return what the environs of a client's requests have in common; clients of a unix socket have no address."""
    host, port = address[:2] if isinstance(address, tuple) else ("", 0)
    return {"REMOTE_ADDR": host, "REMOTE_PORT": str(port)}
