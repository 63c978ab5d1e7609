"""A connection of the threaded worker, which receives the head of a request before a thread takes it."""

import socket
import struct
import time
from collections import deque
from typing import Any

from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from drum_supervisor.http.encoding import CLIENT_GONE, READ_SIZE
from drum_supervisor.http.h1 import BadRequestError, find_head_end

# How long a single receive or send of a thread may block.
IO_TIMEOUT_SECONDS = 60


class Connection(TConn):
    """An accepted connection; gunicorn's parser takes over once a head has arrived.

    Attributes:
        received: bytes of the next request, until a thread takes it.
        refusal: why the head is refused; None while it is acceptable.
        waits_since: when the connection began to wait for a head, of `time.monotonic`.
        waits_in: the worker's queue in which it waits.
    """

    def __init__(self, cfg: Config, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.data_ready = True  # gunicorn's handler need not wait: a thread gets the connection with a head
        self.received = bytearray()
        self.refusal: BadRequestError | None = None
        self.waits_since = time.monotonic()
        self.waits_in: deque[Connection] = deque()
        self._is_used = False
        self._has_head = False
        self._limit_blocking_calls()

    def init(self) -> None:
        """Give what has arrived to gunicorn's parser, in the thread that answers the request."""
        super().init()
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()
        self._has_head = False
        self._is_used = True

    def take_surplus(self) -> None:
        """Take back what gunicorn's parser has read of the next request."""
        self.sock.setblocking(False)
        self.waits_since = time.monotonic()
        self._receive(self.parser.unreader.take_buffered())

    def receive(self) -> None:
        """Receive what has arrived; raise OSError if the client has gone."""
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError(CLIENT_GONE)
        self._receive(data)

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

    def _limit_blocking_calls(self) -> None:
        # in the kernel: Python's `settimeout` adds a second system call to each
        patience = struct.pack("@ll", IO_TIMEOUT_SECONDS, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
