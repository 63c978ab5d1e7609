"""A strict HTTP/1.1 request parser without I/O, for our own servers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from drum_supervisor.http.encoding import BAD_CHUNKS, READ_SIZE, merge_headers, says_close

MAX_HEAD = 64 * 1024
MAX_TARGET = 8 * 1024
MAX_HEADERS = 100
MAX_CHUNK_LINE = 4 * 1024
MAX_TRAILERS = 16 * 1024

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9])\.([0-9])")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class BadRequestError(Exception):
    """The head of a request is invalid; the client gets `status` and this text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BadBodyError(Exception):
    """The body of a request is malformed; the text says how."""


@dataclass(frozen=True)
class Head:
    """The head of a request."""

    method: str
    target: str
    version: str  # `HTTP/1.0` or `HTTP/1.1`
    headers: dict[str, str]  # by lower-case name
    length: int | None  # of the body; None for a chunked body
    expects_continue: bool  # the client waits for `100 Continue` before it sends the body
    # Another request may follow on the connection. False if a proxy in front of us may have parsed this request
    # differently, its end above all: what follows could be a smuggled request.
    keeps_alive: bool


def find_head_end(received: bytearray, searched: int) -> int | None:
    """Return the offset at which the head ends, or None while it is incomplete.

    An earlier call has found no end before the offset `searched`. Raises BadRequestError if the head is too large.
    """
    found = _END_OF_HEAD.search(received, max(searched - 3, 0))
    if (found.end() if found else len(received)) > MAX_HEAD:
        raise BadRequestError(431, f"The head of the request is larger than {MAX_HEAD} bytes.")
    return found.end() if found else None


def parse_head(data: bytes) -> Head:
    """Parse a complete head; raise BadRequestError if it is malformed or beyond our limits."""
    first, *lines = data.decode("latin-1").strip("\r\n").split("\n")
    method, target, version = _request_line(first.removesuffix("\r"))
    if len(lines) > MAX_HEADERS:
        raise BadRequestError(431, f"The request has more than {MAX_HEADERS} headers.")
    pairs = [_header(line.removesuffix("\r")) for line in lines]
    headers = merge_headers(pairs)
    is_1_1 = version != "HTTP/1.0"
    expects_continue = is_1_1 and headers.get("expect", "").lower() == "100-continue"
    keeps_alive = is_1_1 and not says_close(headers.get("connection", "")) and not _is_ambiguous(data, headers)
    return Head(method, target, version, headers, _body_length(pairs), expects_continue, keeps_alive)


def _is_ambiguous(data: bytes, headers: Mapping[str, str]) -> bool:
    # bare LFs, or two lengths of the body: RFC 9112, 2.2 and 6.3
    has_two_lengths = "transfer-encoding" in headers and "content-length" in headers
    return has_two_lengths or data.count(b"\n") != data.count(b"\r\n")


def _request_line(line: str) -> tuple[str, str, str]:
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise BadRequestError(400, "The request does not begin with METHOD TARGET HTTP/1.1.")
    method, target, major, minor = match.groups()
    if major != "1":
        raise BadRequestError(505, "Only HTTP/1.0 and HTTP/1.1 are supported.")
    if len(target) > MAX_TARGET:
        raise BadRequestError(414, f"The target of the request is longer than {MAX_TARGET} bytes.")
    return method, target, "HTTP/1.0" if minor == "0" else "HTTP/1.1"


def _header(line: str) -> tuple[str, str]:
    match = _HEADER.fullmatch(line)
    if not match:
        raise BadRequestError(400, "The request has a malformed header line.")
    return match[1], match[2].strip(" \t")


def _body_length(pairs: list[tuple[str, str]]) -> int | None:
    codings = [value.lower() for name, value in pairs if name.lower() == "transfer-encoding"]
    if codings:
        if codings != ["chunked"]:
            raise BadRequestError(501, "The only supported transfer coding is chunked.")
        return None
    lengths = {value for name, value in pairs if name.lower() == "content-length"} or {"0"}
    length = lengths.pop()
    if lengths or not _LENGTH.fullmatch(length):
        raise BadRequestError(400, "The Content-Length is not one number.")
    return int(length)


class LengthBody:
    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def done(self) -> bool:
        return self._left == 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the part of `data` which belongs to the body."""
        piece = data[: self._left]
        self._left -= len(piece)
        yield piece


class _Line(Enum):
    SIZE = 1
    AFTER_CHUNK = 2
    TRAILER = 3


class ChunkedBody:
    def __init__(self) -> None:
        self.done = False  # the last chunk and the trailers have arrived
        self.surplus = b""  # bytes received after the end of the body, perhaps the next request
        self._left = 0
        self._line = bytearray()
        self._expected = _Line.SIZE
        self._trailers = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded part of `data`; raise BadBodyError if the chunks are malformed."""
        position = 0
        while position < len(data) and not self.done:
            if self._left:
                piece = data[position : position + min(self._left, READ_SIZE)]
                self._left -= len(piece)
                position += len(piece)
                yield piece
            else:
                end = data.find(b"\n", position) + 1 or len(data)
                self._take(data[position:end])
                position = end
        self.surplus = data[position:]

    def _take(self, part: bytes) -> None:
        self._line += part
        if len(self._line) > MAX_CHUNK_LINE:
            raise BadBodyError(BAD_CHUNKS)
        if part.endswith(b"\n"):
            line = bytes(self._line)
            self._line.clear()
            if not line.endswith(b"\r\n"):  # after a bare LF a proxy may see another end
                raise BadBodyError(BAD_CHUNKS)
            self._end_line(line[:-2])

    def _end_line(self, line: bytes) -> None:
        if self._expected is _Line.SIZE:
            match = _CHUNK_SIZE.fullmatch(line)
            if not match:
                raise BadBodyError(BAD_CHUNKS)
            self._left = int(match[1], 16)
            self._expected = _Line.AFTER_CHUNK if self._left else _Line.TRAILER
        elif self._expected is _Line.AFTER_CHUNK:
            if line:
                raise BadBodyError(BAD_CHUNKS)
            self._expected = _Line.SIZE
        else:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise BadBodyError(BAD_CHUNKS)
            self.done = not line
