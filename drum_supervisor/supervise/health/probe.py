"""One probe of an address, for readiness and liveness: a connection, and a GET request on it. Never blocks."""

import errno
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drum_supervisor.contract.client_status import PROGRAM_HEADER
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.run import Dispatcher

MAX_RESPONSE = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_OWN_HEADER = re.compile(b"\r\n" + PROGRAM_HEADER.encode() + b":", re.IGNORECASE)


class PollSet(Protocol):
    def watch(self, dispatcher: Dispatcher) -> None: ...

    def unwatch(self, dispatcher: Dispatcher) -> None: ...


@dataclass(frozen=True)
class Outcome:
    response: bytes = b""  # received until it was enough or the connection ended
    error: int = 0  # the errno of a failed probe


def has_head(response: bytes) -> bool:
    return b"\r\n\r\n" in response


def read_status(response: bytes) -> int | None:
    """Return the status of an HTTP response; None if it is not one."""
    status = _STATUS.match(response)
    return int(status[1]) if status else None


def is_own_response(response: bytes) -> bool:
    """Return whether our own error server or stand-in responded, which may serve the same listener."""
    return _OWN_HEADER.search(response.partition(b"\r\n\r\n")[0]) is not None


class Probe:
    """A dispatcher that connects, and sends one GET request unless `path` is None; polled until it ends.

    Args:
        is_complete: returns whether the bytes received so far are enough.
        on_end: called once with the outcome, unless the probe was closed before.
    """

    def __init__(
        self,
        poll_set: PollSet,
        address: Address,
        path: str | None,
        is_complete: Callable[[bytes], bool],
        on_end: Callable[[Outcome], None],
    ) -> None:
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()
        self.closed = False
        self._host = str(address)
        self._path = path
        self._is_complete = is_complete
        self._on_end = on_end
        self._is_sent = False
        self._response = b""
        target = address.path or (address.client_host, address.port)
        try:
            self._error = self._socket.connect_ex(target)
        except OSError as error:  # an invalid host name, or one without an address of this family
            self._error = error.errno or errno.EADDRNOTAVAIL
        self._poll_set = poll_set
        poll_set.watch(self)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._poll_set.unwatch(self)
            self._socket.close()

    def readable(self) -> bool:
        return self._is_sent and not self.closed

    def writable(self) -> bool:
        return not self._is_sent and not self.closed

    def handle_write_event(self) -> None:  # connected, or refused
        is_pending = self._error in (0, errno.EINPROGRESS)
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if is_pending else self._error
        if error or self._path is None:
            self._end(Outcome(error=error))
        else:
            self._is_sent = True
            self._socket.sendall(_request(self._path, self._host))

    def handle_read_event(self) -> None:
        data = self._socket.recv(4096)
        self._response += data
        if not data or len(self._response) > MAX_RESPONSE or self._is_complete(self._response):
            self._end(Outcome(self._response))

    def handle_error(self) -> None:
        self._end(Outcome(error=errno.ECONNRESET))

    def _end(self, outcome: Outcome) -> None:
        self.close()
        self._on_end(outcome)


def _request(path: str, host: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: drum-supervise\r\n\r\n"
    return head.encode("ascii", "replace")
