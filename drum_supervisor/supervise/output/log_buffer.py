"""What all programs have written of late, in order and with its source: what `drum-supervise logs` shows.

It is kept in memory, the last mebibyte: there are no log files that could fill a disk.
"""

from collections import deque
from collections.abc import Callable

from drum_supervisor.contract.log_records import Piece, Source

LIMIT = 1024 * 1024
_OVERHEAD = 200  # of a piece, in bytes: a hundred thousand small ones must not take more than a few large ones


class LogBuffer:
    """The last pieces, up to `limit` bytes of them.

    Attributes:
        end: how many pieces there were in all.
        on_next: called once, when there is another one.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.end = 0
        self.on_next: Callable[[], object] | None = None
        self._limit = limit
        self._size = 0
        self._pieces: deque[Piece] = deque()

    def add(self, source: Source, data: bytes) -> None:
        """Keep `data`, and drop the oldest for it."""
        self._pieces.append(Piece(self.end, source, data))
        self.end += 1
        self._size += len(data) + _OVERHEAD
        while self._size > self._limit and len(self._pieces) > 1:
            self._size -= len(self._pieces.popleft().data) + _OVERHEAD
        if self.on_next is not None:
            tell, self.on_next = self.on_next, None
            tell()

    def since(self, position: int, most: int) -> list[Piece]:
        """Return the pieces from `position` on, about `most` bytes of them and at least one if there is one.

        The first may be a later one: what was dropped meanwhile is lost.
        """
        found, size = [], 0
        for piece in self._pieces:
            if piece.at >= position:
                found.append(piece)
                size += len(piece.data)
                if size >= most:
                    break
        return found
