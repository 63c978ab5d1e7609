"""gunicorn's responses, with the headers of our other servers."""

import socket
from collections.abc import Callable
from typing import Any

from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import NoMoreData
from gunicorn.http.wsgi import Response as GunicornResponse

from drum_supervisor.http.encoding import READ_SIZE, REASON_PHRASES, http_date, says_close


class StrictLengthReader(LengthReader):
    """Raises where gunicorn would end a truncated body as if it were complete."""

    def read(self, size: int) -> bytes:
        wanted = min(self.length, size)
        data: bytes = super().read(size)
        if len(data) < wanted:
            raise NoMoreData
        return data


class WsgiResponse(GunicornResponse):
    """A response without `Server`, and with `Connection` only where the connection closes.

    It closes where the body of the request is not read to its end: gunicorn would wait for the rest.
    `may_keep`, called just before the head is sent, returns whether the connection may stay open.
    """

    def __init__(self, req: Any, sock: socket.socket, cfg: Config, may_keep: Callable[[], bool]) -> None:
        super().__init__(req, sock, cfg)
        self.headers_sent = False
        self.is_client_gone = False  # sending has failed
        self._may_keep = may_keep
        self._head = b""  # until it is sent

    def is_begun(self) -> bool:
        """Return whether the head is sent."""
        return self.headers_sent and not self._head

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if any(name.lower() == "connection" and says_close(value) for name, value in headers):
            self.force_close()
        if exc_info:
            self.headers.clear()  # of the response that this one replaces
        return super().start_response(status, headers, exc_info)

    def send_headers(self) -> None:
        """Make the head, which is sent together with the first piece of the body, or at the end."""
        if self.headers_sent:
            return
        if not self.status:
            raise AssertionError("start_response was not called")
        if not any(name.lower() == "date" for name, _ in self.headers):
            self.headers.append(("Date", http_date()))
        if self.chunked:
            self.headers.append(("Transfer-Encoding", "chunked"))
        if self.req.version < (1, 1) or not _has_arrived(self.req) or not self._may_keep():
            self.force_close()
        if self.should_close():
            self.headers.append(("Connection", "close"))
        is_known = self.status_code in REASON_PHRASES  # of 513 werkzeug says UNKNOWN, and other servers nothing
        status = self.status if is_known else f"{self.status_code} "
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in self.headers), "", ""]
        self._head = "\r\n".join(lines).encode("latin-1")
        self.headers_sent = True

    def write(self, arg: bytes) -> None:
        if arg:  # an empty piece must not send the head yet
            super().write(arg)

    def _emit_body(self, data: bytes) -> None:
        self._send(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def close(self) -> None:
        """Send the end of the body; the connection closes if the body is shorter than announced."""
        self.send_headers()
        self._send(b"0\r\n\r\n" if self.chunked and not self._omits_body else b"")
        if not self._omits_body and self.sent < (self.response_length or 0):
            self.force_close()  # the client waits for more

    def _send(self, data: bytes) -> None:
        try:
            if self._head and len(data) > READ_SIZE:  # not worth a copy
                self._send_all(b"")
            self._send_all(data)
        except OSError:
            self.is_client_gone = True
            raise

    def _send_all(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head or data:
            self.sock.sendall(head + data)


def _has_arrived(request: Any) -> bool:
    """Return whether the body of `request` is read, or can be read without waiting."""
    reader = request.body.reader
    if request.body.failed:
        return False
    if isinstance(reader, ChunkedReader):
        return reader.parser is None
    return bool(reader.length <= request.unreader.buf.getbuffer().nbytes)
