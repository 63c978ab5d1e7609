"""How werkzeug's server speaks HTTP, with heads and chunks read as the standard-library front reads them."""

import io
import socket
from typing import Any

from werkzeug.serving import WSGIRequestHandler

from drum_supervisor.fronts.http1 import MAX_HEAD, BadRequestError, ChunkedBody, end_of_head, parse_head
from drum_supervisor.fronts.wire import CLIENT_GONE, PIECE, response_headers, split_target
from drum_supervisor.services.messages import CLOSE, message_response

# How long a client may let us wait for the next bytes of a body, or for room for the next bytes of an answer.
IDLE_SECONDS = 60.0


class Handler(WSGIRequestHandler):
    """werkzeug's handler, with heads and chunks read as the standard-library front reads them.

    http.server would answer malformed requests with HTML or without a status line, make one slash of two, refuse
    trailers and read for ever after the answer.
    """

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    rbufsize = PIECE
    server: Any  # the host's, which is told when a head has arrived

    def handle(self) -> None:
        self.close_connection = True
        self._reader, self._says_close = self.rfile, False
        self.wfile = _Writer(self.connection)
        try:
            self._handle()
        except OSError as error:
            self.connection_dropped(error)
        finally:
            self._reader.close()

    def _handle(self) -> None:
        self.command, self.request_version = "", "HTTP/1.1"
        try:
            self._head = parse_head(self._read_head())
        except BadRequestError as error:
            self.server.head_arrived(self.connection)
            self._refuse(error)
            return
        self.server.head_arrived(self.connection)
        self.command, self.request_version = self._head.method, self._head.version
        self.requestline = f"{self._head.method} {self._head.target} {self._head.version}"
        self.headers = self._head.headers  # type: ignore[assignment]  # a mapping is all that werkzeug needs
        if self._head.expects_continue:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.run_wsgi()

    def _read_head(self) -> bytes:
        received = bytearray()
        while end_of_head(received, len(received)) is None:
            line = self.rfile.readline(MAX_HEAD + 1)
            if not line:
                raise ConnectionError(CLIENT_GONE)
            received += line
        return bytes(received)

    def _refuse(self, error: BadRequestError) -> None:
        response = message_response(error.status, f"ERROR: {error}", CLOSE)
        self.send_response(response.status)
        for name, value in response_headers(response):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def make_environ(self) -> dict[str, Any]:
        path, query = split_target(self._head.target)
        self.path = "/"  # werkzeug cannot split every target, `//[` for one
        environ: dict[str, Any] = super().make_environ()
        self.path = self._head.target
        environ |= {"PATH_INFO": path.encode().decode("latin-1"), "QUERY_STRING": query}
        environ |= {"REQUEST_URI": self._head.target, "RAW_URI": self._head.target}
        if self._head.length is None:
            environ["wsgi.input"] = io.BufferedReader(_ChunkedInput(self._reader))
        self.rfile = io.BytesIO()  # from here werkzeug reads after the answer, until the client closes
        return environ

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)
        self.send_header("Date", self.date_time_string())

    def send_header(self, keyword: str, value: str) -> None:
        """Send a header; `Connection: close` once, also when the application and werkzeug both say it."""
        if keyword.lower() == "connection":
            if self._says_close:
                return
            self._says_close, value = True, "close"
        super().send_header(keyword, value)


class _Writer(io.BufferedIOBase):
    """The connection for writing; its time-out holds for each piece, not for a large answer in all."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._connection.sendall(view[start : start + PIECE])
        return len(view)


class _ChunkedInput(io.RawIOBase):
    """A body in chunks, as a file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._body = ChunkedBody()
        self._decoded = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decoded and not self._body.done:
            data = self._file.read1(PIECE)
            if not data:
                raise ConnectionError(CLIENT_GONE)
            for piece in self._body.feed(data):
                self._decoded += piece
        count = min(len(buffer), len(self._decoded))
        buffer[:count] = self._decoded[:count]
        del self._decoded[:count]
        return count
