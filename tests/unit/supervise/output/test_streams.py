"""Output is forwarded untouched and in order, and a stalled reader cannot block the supervisor."""

import fcntl
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from drum_supervisor.supervise.output.streams import SINK_HARD_LIMIT, Forwarder, Sink
from drum_supervisor.supervise.output.tail import LIMIT, Tail

PIPE_CAPACITY = 64 * 1024
BLOCK = b"".join(b"%07d\n" % number for number in range(8 * 1024))  # 64 KiB in which every line is another one


class Reader:
    """The other end of a sink; reads only when the test says so."""

    def __init__(self, fd: int, sink_fd: int, close_sink: Callable[[], None]) -> None:
        self.fd = fd
        self.sink_fd = sink_fd
        self._close_sink = close_sink
        os.set_blocking(fd, False)

    def read(self) -> bytes:
        """Return all that is there now."""
        parts = []
        try:
            while part := os.read(self.fd, 1024 * 1024):
                parts.append(part)
        except (BlockingIOError, OSError):
            pass
        return b"".join(parts)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close_all(self) -> None:
        self.close()
        self._close_sink()


def pipe() -> Reader:
    reading, writing = os.pipe()
    return Reader(reading, writing, lambda: os.close(writing))


def terminal() -> Reader:
    reading, writing = pty.openpty()
    tty.setraw(writing)
    return Reader(reading, writing, lambda: os.close(writing))


def stream_socket() -> Reader:
    ours, theirs = socket.socketpair()
    return Reader(theirs.detach(), ours.fileno(), ours.close)


KINDS = {"pipe": pipe, "terminal": terminal, "socket": stream_socket}


@pytest.fixture(params=KINDS)
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    made = KINDS[request.param]()
    yield made
    made.close_all()


@pytest.fixture
def sink(reader: Reader) -> Iterator[Sink]:
    made = Sink(reader.sink_fd)
    yield made
    made.close()


def carry(sink: Sink, reader: Reader) -> bytes:
    """Do what the loop does until the sink has nothing left; return what arrived."""
    arrived = reader.read()
    while sink.writable():
        poller = select.poll()
        poller.register(sink.fd, select.POLLOUT)
        assert poller.poll(10_000), "never writable again"
        sink.handle_write_event()
        arrived += reader.read()
    return arrived + reader.read()


class TestSink:
    def test_writes_at_once_to_a_reading_reader(self, sink, reader):
        sink.write(b"first\n")
        sink.write(b"\xff\0second")
        assert not sink.writable()
        assert reader.read() == b"first\n\xff\0second"

    def test_buffers_for_a_stalled_reader(self, sink, reader):
        for _ in range(10):
            sink.write(BLOCK)
        assert sink.writable()
        assert carry(sink, reader) == BLOCK * 10

    def test_keeps_the_order_while_the_reader_stalls_at_times(self, sink, reader):
        arrived = b""
        for number in range(2000):
            sink.write(b"%099d\n" % number)
            if number % 300 == 299:
                arrived += reader.read()
        arrived += carry(sink, reader)
        assert arrived == b"".join(b"%099d\n" % number for number in range(2000))

    def test_leaves_flags_of_the_shared_descriptor(self, sink, reader):
        for _ in range(10):
            sink.write(BLOCK)
        assert not fcntl.fcntl(reader.sink_fd, fcntl.F_GETFL) & os.O_NONBLOCK

    def test_leaves_only_the_inherited_descriptor_open(self, reader):
        before = os.listdir("/proc/self/fd")
        made = Sink(reader.sink_fd)
        made.write(b"x")
        made.close()
        made.close()
        assert os.listdir("/proc/self/fd") == before

    def test_ignores_a_reader_that_is_gone(self, sink, reader):
        for _ in range(5):
            sink.write(BLOCK)
        reader.close()
        sink.handle_write_event()
        sink.write(b"more")
        for _ in range(10):
            sink.handle_write_event()
        assert not sink.writable()
        assert not sink.is_full

    def test_is_full_from_its_limit_until_read(self, reader):
        sink = Sink(reader.sink_fd, limit=1000)
        assert not sink.is_full
        while not sink.is_full:
            sink.write(b"x" * 100)
        carry(sink, reader)
        assert not sink.is_full
        sink.close()

    def test_drops_output_beyond_the_hard_limit(self, sink, reader):
        for _ in range(SINK_HARD_LIMIT // len(BLOCK) + 50):
            sink.write(BLOCK)
        arrived = carry(sink, reader)
        assert SINK_HARD_LIMIT <= len(arrived) <= SINK_HARD_LIMIT + 10 * len(BLOCK)
        assert arrived == (BLOCK * 200)[: len(arrived)]

    def test_flush_waits_until_all_is_written(self, sink, reader):
        for _ in range(20):
            sink.write(BLOCK)
        arrived = []
        os.set_blocking(reader.fd, True)

        def read_all() -> None:
            while sum(map(len, arrived)) < 20 * len(BLOCK):
                arrived.append(os.read(reader.fd, 4096))

        thread = threading.Thread(target=read_all)
        thread.start()
        sink.flush(30.0)
        assert not sink.writable()
        thread.join()
        assert b"".join(arrived) == BLOCK * 20

    def test_flush_times_out(self, sink, reader):
        for _ in range(20):
            sink.write(BLOCK)
        sink.flush(0.01)
        assert sink.writable()

    def test_flush_gives_up_on_a_reader_that_is_gone(self, sink, reader):
        for _ in range(20):
            sink.write(BLOCK)
        reader.close()
        sink.flush(30.0)
        assert not sink.writable()

    def test_flush_of_nothing_returns_at_once(self, sink):
        sink.flush(30.0)

    def test_error_event_drops_the_buffer(self, sink):
        for _ in range(20):
            sink.write(BLOCK)
        sink.handle_error()
        assert not sink.writable()

    def test_is_not_readable(self, sink):
        assert not sink.readable()
        sink.handle_read_event()


class TestSinkOnAFile:
    def test_writes_at_once(self, tmp_path):
        with (tmp_path / "out").open("wb") as file:
            sink = Sink(file.fileno())
            for _ in range(50):
                sink.write(BLOCK)
            assert not sink.writable()
            sink.flush(1.0)
            sink.close()
        assert (tmp_path / "out").read_bytes() == BLOCK * 50

    @pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
    def test_full_device_is_ignored(self, device):
        fd = os.open(device, os.O_WRONLY)
        sink = Sink(fd)
        sink.write(BLOCK)
        assert not sink.writable()
        sink.close()
        os.close(fd)

    def test_read_only_file_is_ignored(self, tmp_path):
        (tmp_path / "out").touch()
        fd = os.open(tmp_path / "out", os.O_RDONLY)
        sink = Sink(fd)
        sink.write(b"lost")
        assert not sink.writable()
        sink.close()
        os.close(fd)

    def test_fifo_without_reader_is_written_later(self, tmp_path):
        os.mkfifo(tmp_path / "fifo")
        both = os.open(tmp_path / "fifo", os.O_RDWR)
        fd = os.open(tmp_path / "fifo", os.O_WRONLY)
        os.close(both)
        sink = Sink(fd)  # cannot be opened again: it has no reader
        sink.write(b"lost")
        assert not sink.writable()
        sink.close()
        os.close(fd)


class TestSinkOnADatagramSocket:
    def test_drops_too_large_datagrams(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            sink = Sink(ours.fileno())
            sink.write(b"x" * 10_000_000)
            sink.write(b"short")
            assert theirs.recv(100) == b"short"
            sink.close()


def test_pipe_of_another_user_gets_what_fits(as_nobody):
    """It cannot be opened again, but writing to it must not block either."""
    reading, writing = os.pipe()
    reader = Reader(reading, writing, lambda: os.close(writing))

    def write() -> list[object]:
        sink = Sink(writing)
        for _ in range(3):
            sink.write(BLOCK)
        stalled = sink.writable()
        arrived = carry(sink, reader)
        return [os.geteuid() == 0 or os.getuid() != 0, stalled, arrived == BLOCK * 3, os.get_blocking(writing)]

    assert as_nobody(write) == [True, True, True, True]
    reader.close_all()


class Stalled:
    """The write end of a pipe that is full, and the sink on it."""

    def __init__(self, limit: int) -> None:
        self.reader = pipe()
        self.sink = Sink(self.reader.sink_fd, limit=limit)

    def fill(self) -> int:
        """Fill the pipe and the sink; return the number of bytes."""
        count = 0
        while not self.sink.is_full:
            self.sink.write(BLOCK[:1000])
            count += 1000
        return count

    def close(self) -> None:
        self.sink.close()
        self.reader.close_all()


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    made = Stalled(limit=10_000)
    yield made
    made.close()


@pytest.fixture
def child() -> Iterator[Reader]:
    """The pipe of a child: `fd` is our end, `sink_fd` its."""
    made = pipe()
    yield made
    made.close_all()


class TestForwarder:
    def test_forwards_bytes_untouched(self, stalled, child):
        tail = Tail()
        forwarder = Forwarder(child.fd, stalled.sink, tail.add)
        os.write(child.sink_fd, b"\xff\0\r\n")
        forwarder.handle_read_event()
        assert stalled.reader.read() == b"\xff\0\r\n"
        assert tail.text() == "\ufffd\0\r\n"
        assert not forwarder.writable()

    def test_does_not_read_while_the_sink_is_full(self, stalled, child):
        forwarder = Forwarder(child.fd, stalled.sink)
        assert forwarder.readable()
        stalled.fill()
        assert not forwarder.readable()
        carry(stalled.sink, stalled.reader)
        assert forwarder.readable()

    def test_only_the_program_that_writes_too_much_waits(self, stalled, child):
        """Bounded: pipe, limit of the sink and one read."""
        forwarder = Forwarder(child.fd, stalled.sink)
        os.set_blocking(child.sink_fd, False)
        written = 0
        while forwarder.readable():
            with suppress(BlockingIOError):
                written += os.write(child.sink_fd, BLOCK)
            forwarder.handle_read_event()
        assert written <= 2 * PIPE_CAPACITY + 10_000 + 64 * 1024

    def test_drain_ignores_a_full_sink(self, stalled, child):
        count = stalled.fill()
        tail = Tail()
        forwarder = Forwarder(child.fd, stalled.sink, tail.add)
        os.write(child.sink_fd, BLOCK)
        forwarder.drain()
        assert tail.text().encode() == BLOCK
        assert len(carry(stalled.sink, stalled.reader)) == count + len(BLOCK)

    def test_drain_of_an_empty_pipe_returns(self, stalled, child):
        Forwarder(child.fd, stalled.sink).drain()
        assert stalled.reader.read() == b""

    def test_drain_ends_while_a_descendant_keeps_writing(self, child):
        class Refilled:
            """Whatever is taken from the pipe is in it again at once."""

            full = False

            def write(self, data: bytes) -> None:
                os.write(child.sink_fd, data)

        os.write(child.sink_fd, BLOCK)
        Forwarder(child.fd, Refilled()).drain()
        assert child.read() == BLOCK

    def test_end_of_file_closes_it(self, stalled, child):
        forwarder = Forwarder(child.fd, stalled.sink)
        os.write(child.sink_fd, b"bye")
        child._close_sink()
        child._close_sink = lambda: None
        forwarder.handle_read_event()
        assert not forwarder.closed
        forwarder.handle_read_event()
        assert forwarder.closed
        assert not forwarder.readable()
        forwarder.drain()
        assert stalled.reader.read() == b"bye"

    def test_spurious_wakeup_does_not_close_it(self, stalled, child):
        forwarder = Forwarder(child.fd, stalled.sink)
        forwarder.handle_read_event()
        assert not forwarder.closed

    def test_error_closes_it(self, stalled, child):
        forwarder = Forwarder(child.fd, stalled.sink)
        forwarder.handle_error()
        assert forwarder.closed


class TestTail:
    def test_keeps_the_last_bytes(self):
        tail = Tail(limit=10)
        for _ in range(3):
            tail.add(b"0123456")
        assert tail.text() == "4560123456"

    def test_keeps_the_end_of_a_large_write(self):
        tail = Tail(limit=5)
        tail.add(b"0123456789")
        assert tail.text() == "56789"

    def test_replaces_a_truncated_character(self):
        tail = Tail(limit=2)
        tail.add("aé€".encode())
        assert set(tail.text()) == {"\ufffd"}

    def test_is_empty_at_first(self):
        assert Tail().text() == ""

    def test_is_large_enough_for_a_long_traceback(self):
        tail = Tail()
        tail.add(BLOCK * 3)
        assert len(tail.text()) == LIMIT
