"""Recent output: the last bytes, in order, with their source; and as a file in memory."""

from drum_supervisor.contract.log_records import STDERR, STDOUT, LogSource
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.output.memory_file import MemoryFile

A, B = LogSource("a", STDOUT), LogSource("b", STDERR)


def data(buffer: LogBuffer, offset: int = 0, max_bytes: int = 10**9) -> list[tuple[LogSource, bytes]]:
    return [(record.source, record.data) for record in buffer.read(offset, max_bytes)]


class TestLogBuffer:
    def test_keeps_the_order_and_the_source(self):
        buffer = LogBuffer()
        for source, text in ((A, b"1"), (B, b"2"), (A, b"3")):
            buffer.add(source, text)
        assert data(buffer) == [(A, b"1"), (B, b"2"), (A, b"3")]
        assert data(buffer, 1) == [(B, b"2"), (A, b"3")]
        assert data(buffer, buffer.end) == []

    def test_drops_the_oldest(self):
        buffer = LogBuffer(limit=1000)
        for number in range(10):
            buffer.add(A, b"%d" % number * 100)
        assert [text[:1] for _, text in data(buffer)] == [b"7", b"8", b"9"]
        assert data(buffer, 2) == data(buffer)

    def test_keeps_one_record_of_any_size(self):
        buffer = LogBuffer(limit=10)
        buffer.add(A, b"x" * 100)
        assert data(buffer) == [(A, b"x" * 100)]

    def test_counts_overhead_of_small_records(self):
        buffer = LogBuffer(limit=1000)
        for _ in range(1000):
            buffer.add(A, b"x")
        assert len(data(buffer)) < 10

    def test_read_is_limited_but_returns_at_least_one_record(self):
        buffer = LogBuffer()
        for _ in range(3):
            buffer.add(A, b"12345")
        assert len(data(buffer, 0, max_bytes=1)) == 1
        assert len(data(buffer, 0, max_bytes=6)) == 2

    def test_calls_on_next_once(self):
        offsets = []
        buffer = LogBuffer()
        buffer.add(A, b"before")
        buffer.on_next = lambda: offsets.append(buffer.end)
        buffer.add(A, b"next")
        buffer.add(A, b"and another")
        assert offsets == [2]


class TestMemoryFile:
    def read(self, file: MemoryFile) -> bytes:
        with open(file.path, "rb") as opened:
            return opened.read()

    def test_has_all_that_was_written(self):
        file = MemoryFile()
        file.add(b"one\n")
        file.add(b"two\n")
        assert self.read(file) == b"one\ntwo\n"
        file.close()

    def test_keeps_the_last_bytes_at_the_limit(self):
        file = MemoryFile(limit=10, kept=4)
        file.add(b"0123456789")
        assert self.read(file) == b"0123456789"
        file.add(b"ab")
        assert self.read(file) == b"89ab"
        file.add(b"cdefghijklmn")
        assert self.read(file) == b"klmn"
        file.close()
