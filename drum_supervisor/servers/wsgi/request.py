"""The requests of a connection: heads and bodies, pipelined ones included."""

import io
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from drum_supervisor.http.encoding import CLIENT_GONE, READ_SIZE
from drum_supervisor.http.h1 import ChunkedBody, Head, find_head_end

T = TypeVar("T", bytes, int)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ReceiveBuffer:
    """The bytes received and not consumed yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = bytearray()

    def __len__(self) -> int:
        return len(self._received)

    def take_head(self, on_part: Callable[[], None]) -> bytes:
        """Return the head of the next request; call `on_part` whenever only part of it has arrived."""
        searched = 0
        while (end := find_head_end(self._received, searched)) is None:
            searched = len(self._received)
            if searched:
                on_part()
            with suppress(BlockingIOError, TimeoutError):  # IdleConnections sets the time limit, not the socket
                self._received += _require_data(self.connection.recv(READ_SIZE))
        head = bytes(self._received[:end])
        del self._received[:end]
        return head

    def take(self) -> bytes:
        """Return the buffered bytes, or else the next ones to arrive; raise OSError if none arrive."""
        if not self._received:
            return _require_data(self.connection.recv(READ_SIZE))
        data = bytes(self._received)
        self._received.clear()
        return data

    def take_into(self, buffer: memoryview) -> int:
        """Fill `buffer` like `take`; return the number of bytes."""
        if not self._received:
            return _require_data(self.connection.recv_into(buffer))
        count = min(len(buffer), len(self._received))
        buffer[:count] = self._received[:count]
        del self._received[:count]
        return count

    def skip(self, count: int) -> None:
        """Discard `count` buffered bytes."""
        del self._received[:count]

    def put_back(self, data: bytes) -> None:
        """Return surplus bytes to the empty buffer."""
        self._received += data


class RequestBody(io.RawIOBase):
    """The body of a request, as a file. The first read sends `100 Continue` to a client which expects it."""

    def __init__(self, received: ReceiveBuffer, head: Head) -> None:
        self._received = received
        self._left = head.length or 0
        self._chunks = ChunkedBody() if head.length is None else None
        self._decoded = bytearray()
        self._expects_continue = head.expects_continue

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._expects_continue and not self._received:
            self._received.connection.sendall(_CONTINUE)
        self._expects_continue = False
        view = memoryview(buffer)
        return self._take(view) if self._chunks is None else self._take_chunks(view, self._chunks)

    def has_arrived(self) -> bool:
        """Return whether the rest can be read without waiting. The response begins: no `100 Continue` after this."""
        self._expects_continue = False
        return self._left <= len(self._received) if self._chunks is None else self._chunks.done

    def skip(self) -> None:
        """Discard the unread rest of a body which has arrived."""
        self._received.skip(self._left)

    def _take(self, buffer: memoryview) -> int:
        count = self._received.take_into(buffer[: self._left]) if self._left else 0
        self._left -= count
        return count

    def _take_chunks(self, buffer: memoryview, chunks: ChunkedBody) -> int:
        while not self._decoded and not chunks.done:
            for piece in chunks.feed(self._received.take()):
                self._decoded += piece
            self._received.put_back(chunks.surplus)
        count = min(len(buffer), len(self._decoded))
        buffer[:count] = self._decoded[:count]
        del self._decoded[:count]
        return count


def _require_data(received: T) -> T:
    if not received:
        raise ConnectionError(CLIENT_GONE)
    return received
