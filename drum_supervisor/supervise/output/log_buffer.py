"""The recent output of all programs, in order, as `drum-supervise logs` shows it.

It is kept in memory: there are no log files which could fill a disk.
"""

from collections import deque
from collections.abc import Callable

from drum_supervisor.contract.log_records import LogRecord, LogSource

LIMIT = 1024 * 1024  # bytes
_OVERHEAD = 200  # bytes per record: a hundred thousand small ones must not take more than a few large ones


class LogBuffer:
    """A ring buffer of the last records, up to `limit` bytes of them."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.end = 0  # the offset of the next record
        self.on_next: Callable[[], object] | None = None  # called once, with the next record
        self._limit = limit
        self._size = 0
        self._records: deque[LogRecord] = deque()

    def add(self, source: LogSource, data: bytes) -> None:
        self._records.append(LogRecord(self.end, source, data))
        self.end += 1
        self._size += len(data) + _OVERHEAD
        while self._size > self._limit and len(self._records) > 1:
            self._size -= len(self._records.popleft().data) + _OVERHEAD
        if self.on_next is not None:
            on_next, self.on_next = self.on_next, None
            on_next()

    def read(self, offset: int, max_bytes: int) -> list[LogRecord]:
        """Return the kept records from `offset` on: about `max_bytes`, but at least one if there is one."""
        found: list[LogRecord] = []
        if offset >= self.end:
            return found
        size = 0
        for record in self._records:
            if record.offset >= offset:
                found.append(record)
                size += len(record.data)
                if size >= max_bytes:
                    break
        return found
