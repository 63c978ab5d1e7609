"""Sends the response of a WSGI application (PEP 3333) as HTTP/1.1."""

from collections.abc import Callable, Iterable
from types import TracebackType

from drum_supervisor.http.encoding import READ_SIZE, http_date
from drum_supervisor.http.h1 import Head, says_close

ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# Headers which only the server sets.
_SERVER_HEADERS = ("connection", "keep-alive", "transfer-encoding")


class ResponseWriter:
    """Sends a response piece by piece.

    `head` is that of the request; `may_keep`, called just before the head of the response is sent, returns whether the
    connection may stay open.
    """

    def __init__(self, head: Head, send: Callable[[bytes], object], may_keep: Callable[[], bool]) -> None:
        self.is_begun = False  # the head is sent
        self.keeps = False  # another request may follow; false if the body is shorter than announced
        self._head = head
        self._send = send
        self._may_keep = may_keep
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._left: int | None = None  # bytes of the announced length
        self._is_chunked = False

    def start(
        self, status: str, headers: list[tuple[str, str]], error: ErrorInfo | None = None
    ) -> Callable[[bytes], None]:
        """Set status and headers: `start_response` of PEP 3333, a second call only with `error`."""
        if error and self.is_begun:
            raise error[1].with_traceback(error[2])
        if self._status and not error:
            raise AssertionError("start_response was called twice")
        self._status, self._headers = status, headers
        return self.write

    def write(self, piece: bytes) -> None:
        """Send a piece of the body; the first one together with the head, if it is small."""
        if not piece:
            return
        head = b"" if self.is_begun else self._begin()
        if head and len(piece) > READ_SIZE:
            self._send(head)
            head = b""
        if data := head + self._framed(piece):
            self._send(data)

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Send all pieces and the end of the body."""
        for piece in pieces:
            self.write(piece)
        end = b"" if self.is_begun else self._begin()
        if self._is_chunked:
            end += b"0\r\n\r\n"
        if end:
            self._send(end)
        if self._left:
            self.keeps = False  # the client waits for more

    def _begin(self) -> bytes:
        """Return the head, after deciding how the body ends and whether another request may follow."""
        if not self._status:
            raise AssertionError("start_response was not called")
        names = {name.lower(): value for name, value in self._headers}
        ends = self._find_end(names.get("content-length"))
        is_wanted = self._head.keeps_alive and not says_close(names.get("connection", ""))
        self.keeps = self._may_keep() and ends and is_wanted
        lines = [f"{name}: {value}" for name, value in self._headers if name.lower() not in _SERVER_HEADERS]
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a response header contains a line break")
        if "date" not in names:
            lines.append(f"Date: {http_date()}")
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self.keeps:
            lines.append("Connection: close")
        self.is_begun = True
        return "\r\n".join([f"HTTP/1.1 {self._status}", *lines, "", ""]).encode("latin-1")

    def _find_end(self, length: str | None) -> bool:
        """Choose length or chunks; return false if only closing the connection can end the body."""
        code = int(self._status[:3])
        if self._head.method == "HEAD" or code < 200 or code in (204, 304):
            self._left = 0
        elif length is not None:
            self._left = int(length)
        else:
            self._is_chunked = self._head.version == "HTTP/1.1"
        return self._left is not None or self._is_chunked

    def _framed(self, piece: bytes) -> bytes:
        if self._is_chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece
