"""A connection of the threaded worker, which receives the head of a request before a thread takes it."""

import socket
import struct
import time
from collections import deque
from typing import Any

from gunicorn.config import Config
from gunicorn.http import get_parser

from drum_supervisor.http.encoding import CLIENT_GONE, READ_SIZE
from drum_supervisor.http.h1 import BadRequestError, find_head_end

# How long a single receive or send of a thread may block.
IO_TIMEOUT_SECONDS = 60
_IO_TIMEOUT = struct.pack("@ll", IO_TIMEOUT_SECONDS, 0)  # as a struct timeval


class Connection:
    """An accepted connection; gunicorn's parser takes over once a head has arrived.

    Attributes:
        received: bytes of the next request, until a thread takes it.
        refusal: why the head is refused; None while it is acceptable.
        waits_since: when the connection began to wait for a head, of `time.monotonic`.
        waits_in: the worker's queue in which it waits.
        timeout: when the worker closes it there.
    """

    # The socket stays blocking, for the threads; the loop reads without waiting. Each change of a mode would give up
    # the interpreter lock, for which a probe waits beside predictions.

    def __init__(self, cfg: Config, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.received = bytearray()
        self.refusal: BadRequestError | None = None
        self.waits_since = time.monotonic()
        self.waits_in: deque[Connection] = deque()
        self.timeout = 0.0
        self._parser = get_parser(cfg, sock, client)
        # gunicorn would read a mebibyte of a body ahead, and copy what is left of it with each piece
        self._parser.unreader.max_body_chunk = READ_SIZE
        self._is_used = False
        self._has_head = False
        self.limit_blocking_calls()

    def limit_blocking_calls(self) -> None:
        # in the kernel: Python's `settimeout` adds a second system call to each
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _IO_TIMEOUT)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _IO_TIMEOUT)

    def next_request(self) -> Any:
        """Parse the head which has arrived; raise ParseException, StopIteration or OSError."""
        self._parser.unreader.unread(bytes(self.received))
        self.received.clear()
        self._has_head = False
        self._is_used = True
        return next(self._parser)

    def take_surplus(self) -> None:
        """Take back what gunicorn's parser has read of the next request; the body of the last one has arrived."""
        self._parser.finish_body()
        self.waits_since = time.monotonic()
        self._receive(self._parser.unreader.take_buffered())

    def receive(self) -> None:
        """Receive what has arrived; raise OSError if the client has gone."""
        try:
            data = self.receive_now()
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError(CLIENT_GONE)
        self._receive(data)

    def receive_now(self) -> bytes:
        """Receive without waiting, or raise BlockingIOError."""
        return self.sock.recv(READ_SIZE, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self.sock.close()

    def is_idle(self) -> bool:
        """Return whether a request was answered, and nothing of the next one has arrived."""
        return self._is_used and not self.received

    def may_be_handled(self) -> bool:
        """Return whether a head has arrived, or is refused."""
        return self._has_head or self.refusal is not None

    def _receive(self, data: bytes) -> None:
        searched = len(self.received)
        self.received += data
        try:
            self._has_head = find_head_end(self.received, searched) is not None
        except BadRequestError as error:
            self.refusal = error
