"""Forwards the output of programs, untouched and in order, without ever waiting for a reader.

A `Sink` is the supervisor's own stdout or stderr. What a stalled reader does not take is buffered up to a limit; then
the forwarders stop reading, the pipes fill up, and only the programs that write too much wait.
"""

import fcntl
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from drum_supervisor.contract.log_records import STDERR, STDOUT, SUPERVISOR, LineFormat, LineFormatter, LogSource
from drum_supervisor.supervise.output.reader import Reader

READ_SIZE = 64 * 1024
SINK_LIMIT = 1024 * 1024  # bytes
SINK_HARD_LIMIT = 8 * SINK_LIMIT


class Sink:
    """A dispatcher that writes to an inherited descriptor without blocking."""

    # O_NONBLOCK is a flag of the open file description, which our parent shares: it must not be set on an inherited
    # descriptor. Pipes and terminals are opened again (the new description is ours); sockets have MSG_DONTWAIT; regular
    # files never block for long; and what cannot be opened again gets what fits when it is ready.

    closed = False

    def __init__(self, fd: int, limit: int = SINK_LIMIT) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._opened = ExitStack()
        self.fd, self._write = self._open(fd)

    @property
    def is_full(self) -> bool:
        return len(self._buffer) >= self._limit

    def write(self, data: bytes) -> None:
        """Write `data`, now or later; never blocks, never fails."""
        # The limit binds callers that check `is_full`. The last output of dead programs and the supervisor's own lines
        # may exceed it: they are dropped only when eight times as much lies unread.
        if self._buffer:
            if len(self._buffer) < SINK_HARD_LIMIT:
                self._buffer += data
            return
        self._buffer += data[self._try(data) :]

    def flush(self, seconds: float) -> None:
        """Wait up to `seconds` until all is written; only for the very end, because it blocks."""
        deadline = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        while self._buffer and (left := deadline - time.monotonic()) > 0:
            poller.poll(left * 1000)
            self.handle_write_event()

    def close(self) -> None:
        self._opened.close()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return bool(self._buffer)

    def handle_read_event(self) -> None: ...

    def handle_write_event(self) -> None:
        # A slice at a time: copying a megabyte to have four kilobytes of it accepted is quadratic.
        written = self._try(bytes(self._buffer[:READ_SIZE]))
        del self._buffer[:written]

    def handle_error(self) -> None:
        self._buffer.clear()

    def _try(self, data: bytes) -> int:
        """Return how many bytes were written; a broken sink swallows all."""
        try:
            return self._write(data)
        except BlockingIOError:
            return 0
        except OSError:  # the reader is gone, the disk is full ...: output is lost, and serving goes on
            return len(data)

    def _open(self, fd: int) -> tuple[int, Callable[[bytes], int]]:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            own = self._opened.enter_context(socket.socket(fileno=os.dup(fd)))
            return fd, lambda data: own.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if stat.S_ISFIFO(mode) or os.isatty(fd):
            with suppress(OSError):
                own_fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                self._opened.callback(os.close, own_fd)
                return own_fd, lambda data: os.write(own_fd, data)
            return fd, lambda data: _write_what_fits(fd, data)
        return fd, lambda data: os.write(fd, data)


def _write_what_fits(fd: int, data: bytes) -> int:
    # PIPE_BUF bytes: a pipe that poll() reports writable has room for that many (pipe(7)).
    poller = select.poll()
    poller.register(fd, select.POLLOUT)
    if not poller.poll(0):
        return 0
    return os.write(fd, data[: select.PIPE_BUF])


class Forwarder(Reader):
    """Forwards output from a pipe to a sink, formatted if wanted, and untouched to subscribers."""

    def __init__(
        self, fd: int, sink: Sink, *subscribers: Callable[[bytes], object], formatter: LineFormatter | None = None
    ) -> None:
        super().__init__(fd)
        self._sink = sink
        self._subscribers = subscribers
        self._formatter = formatter

    def readable(self) -> bool:
        return super().readable() and not self._sink.is_full

    def handle_read_event(self) -> None:
        self._read()

    def handle_error(self) -> None:
        self.close()

    def drain(self) -> None:
        """Forward what a dead program left in the pipe, however full the sink is: at most the pipe's capacity."""
        left = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ)  # its descendants may still run, and write faster than we read
        while not self.closed and left > 0 and (size := self._read()):
            left -= size
        self.flush_line()

    def close(self) -> None:
        self.closed = True
        self.flush_line()

    def flush_line(self) -> None:
        """Write the last line, which has no line end."""
        if self._formatter is not None and (rest := self._formatter.rest()):
            self._sink.write(rest)

    def _read(self) -> int:
        try:
            data = os.read(self.fd, READ_SIZE)
        except BlockingIOError:
            return 0
        if not data:
            self.close()
            return 0
        self.forward(data)
        return len(data)

    def forward(self, data: bytes) -> None:
        self._sink.write(data if self._formatter is None else self._formatter.wrap(data))
        for subscriber in self._subscribers:
            subscriber(data)


@dataclass(frozen=True)
class OutputStreams:
    """The supervisor's own stdout and stderr, where all output goes, and the subscribers to all of it."""

    out: Sink
    err: Sink
    line_format: LineFormat | None = None  # of programs' lines; None: their output is forwarded untouched
    subscribers: list[Callable[[LogSource, bytes], object]] = field(default_factory=list)

    def write(self, line: bytes) -> None:
        self.err.write(line)
        self._publish(LogSource(SUPERVISOR, STDERR), line)

    def make_forwarder(self, fd: int, source: LogSource, *subscribers: Callable[[bytes], object]) -> Forwarder:
        sink = self.out if source.stream == STDOUT else self.err
        formatter = LineFormatter(source, self.line_format) if self.line_format else None
        return Forwarder(fd, sink, *subscribers, partial(self._publish, source), formatter=formatter)

    def _publish(self, source: LogSource, data: bytes) -> None:
        for subscriber in self.subscribers:
            subscriber(source, data)
