"""The body of a request, kept as far as it is needed: in memory while it is small, then in a file."""

from collections.abc import Mapping
from io import BytesIO
from types import TracebackType
from typing import BinaryIO

from drum_supervisor.http.messages import Request

# What is longer goes to a file without a name in the temporary directory: slow uploads must not fill the memory.
IN_MEMORY = 1024 * 1024


class BodyKeeper:
    """Takes a body piece by piece and keeps it as long as it is not longer than `limit`; 0 keeps nothing.

    As a context manager it gives the file back, if there is one.

    Attributes:
        length: of all that was taken.
        too_large: it was longer than a limit that is not 0; what had been kept is thrown away.
        problem: why it could not be kept, the disk is full for example; else empty.
    """

    def __init__(self, limit: int, in_memory: int = IN_MEMORY) -> None:
        self.length = 0
        self.too_large = False
        self.problem = ""
        self._limit = limit
        self._in_memory = in_memory
        self._kept: BinaryIO = BytesIO()  # getvalue() shares its memory: the body is in memory once

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self.length += len(piece)
        if not self._limit or self.too_large or self.problem:
            return
        if self.length > self._limit:
            self.too_large = True
            self._forget()
            return
        try:
            if self.length > self._in_memory and isinstance(self._kept, BytesIO):
                self._kept = _to_file(self._kept)
            _write(self._kept, piece)
        except OSError as error:
            self.problem = f"there is no room for it ({error.strerror or error})"
            self._forget()

    def needs_disk(self, piece: bytes) -> bool:
        """Return whether taking `piece` writes to the disk, which takes as long as it takes."""
        is_kept = bool(self._limit) and not self.too_large and not self.problem
        return is_kept and self._in_memory < self.length + len(piece) <= self._limit

    def request(self, method: str, path: str, query: str, headers: Mapping[str, str], broken: str) -> Request:
        """Return the request with this body, of which `broken` says why it could not be read to its end."""
        kept = self._kept
        body, file = (kept.getvalue(), None) if isinstance(kept, BytesIO) else (b"", kept)
        if broken:
            body, file = b"", None
        return Request(method, path, query, headers, body, self.too_large, broken, self.problem, file)

    def __enter__(self) -> "BodyKeeper":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._forget()

    def _forget(self) -> None:
        kept, self._kept = self._kept, BytesIO()
        if not isinstance(kept, BytesIO):  # whoever still has the bytes may keep them
            try:
                kept.close()
            except OSError:
                return  # what could not be written is not needed any more


def _write(file: BinaryIO, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]  # a file without a buffer may take a part


def _to_file(kept: BytesIO) -> BinaryIO:
    from tempfile import TemporaryFile  # noqa: PLC0415 - not for the stand-in, which must be up at once

    file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with its keeper
    try:
        _write(file, kept.getbuffer())
    except OSError:
        file.close()
        raise
    return file
