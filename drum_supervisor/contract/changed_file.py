"""A file that is read again whenever it has changed. Without `typing`, which the stand-in would have to load."""

import os


class ChangedFile:
    """The base of what reads a file that its writer replaces; one `stat` while the file is unchanged."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None

    def refresh(self) -> None:
        """Read the file if it has changed since it was last read; a missing or invalid one changes nothing."""
        try:
            status = os.stat(self._path)
        except OSError:
            return
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._version and self._read():
            self._version = version

    def _read(self) -> bool:
        """Read the file; return whether it is valid."""
        raise NotImplementedError  # each kind of file has its own form
