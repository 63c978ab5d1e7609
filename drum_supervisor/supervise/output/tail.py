"""The end of a stream, as evidence for failure reports."""

LIMIT = 64 * 1024  # bytes


class Tail:
    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._bytes = b""

    def add(self, data: bytes) -> None:
        self._bytes = (self._bytes + data)[-self._limit :]

    def text(self) -> str:
        return self._bytes.decode("utf-8", "replace")
