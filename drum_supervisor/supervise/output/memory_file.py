"""The end of a stream as a file in memory, from which supervisord serves logs: `supervisorctl tail -f`."""

import os
from dataclasses import dataclass, field

LIMIT = 256 * 1024  # bytes
KEPT = 64 * 1024


def _new_file() -> int:
    return os.memfd_create("log", os.MFD_CLOEXEC)


@dataclass
class MemoryFile:
    """A file with a path, but not on a disk: at `limit` bytes all but the last `kept` are dropped.

    `tail -f` reports then that the file was truncated.
    """

    limit: int = LIMIT
    kept: int = KEPT
    _fd: int = field(default_factory=_new_file)

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self._fd}"

    def add(self, data: bytes) -> None:
        size = os.fstat(self._fd).st_size
        if size + len(data) > self.limit:
            data = (os.pread(self._fd, self.kept, max(size - self.kept, 0)) + data)[-self.kept :]
            self.clear()
        os.write(self._fd, data)

    def clear(self) -> None:
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def close(self) -> None:
        os.close(self._fd)
