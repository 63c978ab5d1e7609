"""An answer as a WSGI application gives it (PEP 3333), and as HTTP/1.1 has it."""

from collections.abc import Callable, Iterable
from types import TracebackType

from drum_supervisor.http.encoding import PIECE, http_date
from drum_supervisor.http.h1 import Head, says_close

ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# Headers of an application that are the server's to decide.
_OURS = ("connection", "keep-alive", "transfer-encoding")


class Answer:
    """Takes an answer piece by piece and sends it.

    Args:
        head: of the request.
        send: to the client.
        may_keep: whether another request may follow; asked when the head of the answer is sent, which says so.

    Attributes:
        is_begun: its head is sent.
        keeps: another request may follow; not if less was sent than the head had announced.
    """

    def __init__(self, head: Head, send: Callable[[bytes], object], may_keep: Callable[[], bool]) -> None:
        self.is_begun = False
        self.keeps = False
        self._head = head
        self._send = send
        self._may_keep = may_keep
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._left: int | None = None  # of the announced length
        self._is_chunked = False

    def start(
        self, status: str, headers: list[tuple[str, str]], error: ErrorInfo | None = None
    ) -> Callable[[bytes], None]:
        """Take status and headers; the application calls this, a second time only because of an error."""
        if error and self.is_begun:
            raise error[1].with_traceback(error[2])
        if self._status and not error:
            raise AssertionError("start_response was called twice")
        self._status, self._headers = status, headers
        return self.write

    def write(self, piece: bytes) -> None:
        """Send a piece of the body, and before the first one the head, if possible at once."""
        if not piece:
            return
        head = b"" if self.is_begun else self._begin()
        if head and len(piece) > PIECE:
            self._send(head)
            head = b""
        if data := head + self._framed(piece):
            self._send(data)

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """Send all pieces, and what comes after the last one."""
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
        """Return the head of the answer, which says how its end is known and whether another request may follow."""
        if not self._status:
            raise AssertionError("start_response was not called")
        names = {name.lower(): value for name, value in self._headers}
        ends = self._find_end(names.get("content-length"))
        is_wanted = self._head.keeps_alive and not says_close(names.get("connection", ""))
        self.keeps = self._may_keep() and ends and is_wanted
        lines = [f"{name}: {value}" for name, value in self._headers if name.lower() not in _OURS]
        if any("\n" in line or "\r" in line for line in lines):
            raise ValueError("a header of the answer has a line break in it")
        if "date" not in names:
            lines.append(f"Date: {http_date()}")
        if self._is_chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self.keeps:
            lines.append("Connection: close")
        self.is_begun = True
        return "\r\n".join([f"HTTP/1.1 {self._status}", *lines, "", ""]).encode("latin-1")

    def _find_end(self, length: str | None) -> bool:
        """Decide how the client knows the end of the answer; return whether otherwise than by the connection's end."""
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
