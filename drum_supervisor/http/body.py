"""Request bodies: in memory while they are small, then in a temporary file."""

from collections.abc import Mapping
from io import BytesIO
from types import TracebackType
from typing import BinaryIO

from drum_supervisor.http.messages import Request

# Longer bodies go to an unnamed file in the temporary directory: slow uploads must not fill the memory.
MAX_IN_MEMORY = 1024 * 1024


class BodySpool:
    """Stores a body of at most `limit` bytes; with a limit of 0 it only counts. Leaving the context closes the file."""

    def __init__(self, limit: int, max_in_memory: int = MAX_IN_MEMORY) -> None:
        self.length = 0  # bytes received
        self.too_large = False  # the body exceeded a limit other than 0: its bytes are discarded
        self.write_error = ""  # why the body could not be stored: disk full, for example
        self._limit = limit
        self._max_in_memory = max_in_memory
        self._buffer: BinaryIO = BytesIO()  # getvalue() shares the buffer: no second copy in memory

    def add(self, piece: bytes) -> None:
        self.length += len(piece)
        if not self._limit or self.too_large or self.write_error:
            return
        if self.length > self._limit:
            self.too_large = True
            self._discard()
            return
        try:
            if self.length > self._max_in_memory and isinstance(self._buffer, BytesIO):
                self._buffer = _to_file(self._buffer)
            _write(self._buffer, piece)
        except OSError as error:
            self.write_error = error.strerror or str(error)
            self._discard()

    def needs_disk(self, piece: bytes) -> bool:
        """Return whether adding `piece` writes to disk, which may block."""
        is_stored = bool(self._limit) and not self.too_large and not self.write_error
        return is_stored and self._max_in_memory < self.length + len(piece) <= self._limit

    def build_request(self, method: str, path: str, query: str, headers: Mapping[str, str], broken: str) -> Request:
        """Return the request with this body; `broken` says why the body could not be read to its end, or is empty."""
        kept = self._buffer
        body, file = (kept.getvalue(), None) if isinstance(kept, BytesIO) else (b"", kept)
        if broken:
            body, file = b"", None
        return Request(method, path, query, headers, body, self.too_large, broken, self.write_error, file)

    def __enter__(self) -> "BodySpool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._discard()

    def _discard(self) -> None:
        kept, self._buffer = self._buffer, BytesIO()
        if not isinstance(kept, BytesIO):
            try:
                kept.close()
            except OSError:
                return  # unwritten data is of no use any more


def _write(file: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]  # an unbuffered write may be partial


def _to_file(buffer: BytesIO) -> BinaryIO:
    from tempfile import TemporaryFile  # noqa: PLC0415 - slow to import, and the stand-in never needs it

    file = TemporaryFile(buffering=0)  # noqa: SIM115 - BodySpool closes it
    try:
        _write(file, buffer.getbuffer())
    except OSError:
        file.close()
        raise
    return file
