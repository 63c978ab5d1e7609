"""One question to the address, and what becomes of it: a connection, and a GET request on it.

A probe is a dispatcher of the engine's loop, and never waits; whether the model server is ready, and whether it still
answers, is asked with it.
"""

import errno
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drum_supervisor.contract.client_status import PROGRAM_HEADER
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.run import Dispatcher

LONGEST_ANSWER = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_OURS = re.compile(b"\r\n" + PROGRAM_HEADER.encode() + b":", re.IGNORECASE)


class Polled(Protocol):
    """The part of the engine that asks for it to be polled."""

    def watch(self, dispatcher: Dispatcher) -> None: ...

    def unwatch(self, dispatcher: Dispatcher) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What became of a question: what was received until that was enough or the connection ended, or an `errno`."""

    received: bytes = b""
    error: int = 0


def has_head(answer: bytes) -> bool:
    """Return whether the whole head of an HTTP answer has come."""
    return b"\r\n\r\n" in answer


def status_of(answer: bytes) -> int | None:
    """Return the status of an HTTP answer, None when it is none."""
    status = _STATUS.match(answer)
    return int(status[1]) if status else None


def is_ours(answer: bytes) -> bool:
    """Return whether our own error server or stand-in answered, which may serve the same listener."""
    return _OURS.search(answer.partition(b"\r\n\r\n")[0]) is not None


class Probe:
    """One connection, and one GET request on it unless there is no path.

    Args:
        enough: whether what was received so far is all that is wanted.
        on_end: called once, when there is an outcome; close the probe then.
    """

    def __init__(
        self, address: Address, path: str | None, enough: Callable[[bytes], bool], on_end: Callable[[Outcome], None]
    ) -> None:
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()
        self.closed = False
        self._host = str(address)
        self._path = path
        self._enough = enough
        self._on_end = on_end
        self._sent = False
        self._received = b""
        target = address.path or (address.client_host, address.port)
        try:
            self._error = self._socket.connect_ex(target)
        except OSError as error:  # a name that means nothing, or has no address of this family
            self._error = error.errno or errno.EADDRNOTAVAIL

    def close(self) -> None:
        self.closed = True
        self._socket.close()

    def readable(self) -> bool:
        return self._sent and not self.closed

    def writable(self) -> bool:
        return not self._sent and not self.closed

    def handle_write_event(self) -> None:
        """Connected, or refused."""
        pending = self._error in (0, errno.EINPROGRESS)
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if pending else self._error
        if error or self._path is None:
            self._on_end(Outcome(error=error))
        else:
            self._sent = True
            self._socket.sendall(_request(self._path, self._host))

    def handle_read_event(self) -> None:
        data = self._socket.recv(4096)
        self._received += data
        if not data or len(self._received) > LONGEST_ANSWER or self._enough(self._received):
            self._on_end(Outcome(self._received))

    def handle_error(self) -> None:
        self._on_end(Outcome(error=errno.ECONNRESET))


def _request(path: str, host: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: drum-supervise\r\n\r\n"
    return head.encode("ascii", "replace")
