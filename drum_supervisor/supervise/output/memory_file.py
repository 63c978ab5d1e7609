"""The end of a stream as a file in memory, for supervisord's own ways to read logs: `supervisorctl tail -f`."""

import os
from dataclasses import dataclass, field

LIMIT = 256 * 1024
KEPT = 64 * 1024


def _new_file() -> int:
    return os.memfd_create("log", os.MFD_CLOEXEC)


@dataclass
class MemoryFile:
    """The last bytes, from `kept` up to `limit` of them, in a file that has a path and fills no disk.

    When the limit is reached all but the last are dropped; `tail -f` says then that the file was truncated.
    """

    limit: int = LIMIT
    kept: int = KEPT
    _fd: int = field(default_factory=_new_file)

    @property
    def path(self) -> str:
        """How this process opens it."""
        return f"/proc/self/fd/{self._fd}"

    def add(self, data: bytes) -> None:
        """Write `data` at the end."""
        size = os.fstat(self._fd).st_size
        if size + len(data) > self.limit:
            data = (os.pread(self._fd, self.kept, max(size - self.kept, 0)) + data)[-self.kept :]
            self.clear()
        os.write(self._fd, data)

    def clear(self) -> None:
        """Forget all of it."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def close(self) -> None:
        """Give the memory back."""
        os.close(self._fd)
