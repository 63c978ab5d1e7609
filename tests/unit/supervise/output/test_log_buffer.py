"""What is kept of the output: the last bytes, in order, with their source; as a file in memory too."""

from drum_supervisor.contract.log_records import ERR, OUT, Source
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.output.memory_file import MemoryFile

A, B = Source("a", OUT), Source("b", ERR)


def data(transcript: LogBuffer, position: int = 0, most: int = 10**9) -> list[tuple[Source, bytes]]:
    return [(piece.source, piece.data) for piece in transcript.since(position, most)]


class TestTranscript:
    def test_keeps_the_order_and_the_source(self):
        transcript = LogBuffer()
        for source, text in ((A, b"1"), (B, b"2"), (A, b"3")):
            transcript.add(source, text)
        assert data(transcript) == [(A, b"1"), (B, b"2"), (A, b"3")]
        assert data(transcript, 1) == [(B, b"2"), (A, b"3")]
        assert data(transcript, transcript.end) == []

    def test_drops_the_oldest(self):
        transcript = LogBuffer(limit=1000)
        for number in range(10):
            transcript.add(A, b"%d" % number * 100)
        assert [text[:1] for _, text in data(transcript)] == [b"7", b"8", b"9"]
        assert data(transcript, 2) == data(transcript)

    def test_one_piece_is_kept_however_large_it_is(self):
        transcript = LogBuffer(limit=10)
        transcript.add(A, b"x" * 100)
        assert data(transcript) == [(A, b"x" * 100)]

    def test_many_small_pieces_are_large_together(self):
        transcript = LogBuffer(limit=1000)
        for _ in range(1000):
            transcript.add(A, b"x")
        assert len(data(transcript)) < 10

    def test_an_answer_has_a_limit_and_at_least_one_piece(self):
        transcript = LogBuffer()
        for _ in range(3):
            transcript.add(A, b"12345")
        assert len(data(transcript, 0, most=1)) == 1
        assert len(data(transcript, 0, most=6)) == 2

    def test_tells_once_of_the_next_piece(self):
        told = []
        transcript = LogBuffer()
        transcript.add(A, b"before")
        transcript.on_next = lambda: told.append(transcript.end)
        transcript.add(A, b"next")
        transcript.add(A, b"and another")
        assert told == [2]


class TestLogFile:
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
