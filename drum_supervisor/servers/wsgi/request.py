"""What arrives on a connection: heads and bodies, one after the other, also those that have come at once."""

import io
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from drum_supervisor.http.encoding import CLIENT_GONE, PIECE
from drum_supervisor.http.h1 import ChunkedBody, Head, end_of_head

T = TypeVar("T", bytes, int)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Incoming:
    """The bytes that a client has sent and nobody has taken yet; its length says how many there are."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = bytearray()

    def __len__(self) -> int:
        return len(self._received)

    def take_head(self, comes_in_pieces: Callable[[], None]) -> bytes:
        """Return the head of a request, however long it takes; call `comes_in_pieces` when there is a part of it.

        Raises:
            BadRequestError: it is too large.
            OSError: the client has gone.
        """
        searched = 0
        while (end := end_of_head(self._received, searched)) is None:
            searched = len(self._received)
            if searched:
                comes_in_pieces()
            with suppress(BlockingIOError, TimeoutError):  # how long is too long is not the socket's to say
                self._received += _some(self.connection.recv(PIECE))
        head = bytes(self._received[:end])
        del self._received[:end]
        return head

    def take(self) -> bytes:
        """Return what is there, or else what comes next.

        Raises:
            OSError: the client has gone, or is silent.
        """
        if not self._received:
            return _some(self.connection.recv(PIECE))
        data = bytes(self._received)
        self._received.clear()
        return data

    def take_into(self, buffer: memoryview) -> int:
        """Put what is there, or else what comes next, into `buffer`; return how much that is.

        Raises:
            OSError: the client has gone, or is silent.
        """
        if not self._received:
            return _some(self.connection.recv_into(buffer))
        count = min(len(buffer), len(self._received))
        buffer[:count] = self._received[:count]
        del self._received[:count]
        return count

    def skip(self, count: int) -> None:
        """Throw so many bytes away that are there."""
        del self._received[:count]

    def put_back(self, data: bytes) -> None:
        """Take back what is somebody else's, when all else is taken."""
        self._received += data


class RequestBody(io.RawIOBase):
    """The body of a request, as a file. A client that waits for `100 Continue` gets it when somebody wants the body."""

    def __init__(self, incoming: Incoming, head: Head) -> None:
        self._incoming = incoming
        self._left = head.length or 0
        self._chunks = ChunkedBody() if head.length is None else None
        self._decoded = bytearray()
        self._expects_continue = head.expects_continue

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._expects_continue and not self._incoming:
            self._incoming.connection.sendall(_CONTINUE)
        self._expects_continue = False
        view = memoryview(buffer)
        return self._take(view) if self._chunks is None else self._take_chunks(view, self._chunks)

    def has_arrived(self) -> bool:
        """Return whether all of it has been read, or could be without waiting. The answer begins: too late to ask."""
        self._expects_continue = False
        return self._left <= len(self._incoming) if self._chunks is None else self._chunks.done

    def skip(self) -> None:
        """Throw away what nobody has read of a body that has arrived."""
        self._incoming.skip(self._left)

    def _take(self, buffer: memoryview) -> int:
        count = self._incoming.take_into(buffer[: self._left]) if self._left else 0
        self._left -= count
        return count

    def _take_chunks(self, buffer: memoryview, chunks: ChunkedBody) -> int:
        while not self._decoded and not chunks.done:
            for piece in chunks.feed(self._incoming.take()):
                self._decoded += piece
            self._incoming.put_back(chunks.surplus)
        count = min(len(buffer), len(self._decoded))
        buffer[:count] = self._decoded[:count]
        del self._decoded[:count]
        return count


def _some(received: T) -> T:
    if not received:
        raise ConnectionError(CLIENT_GONE)
    return received
