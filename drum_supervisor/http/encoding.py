"""Headers, paths and responses, encoded the same for every front and server, byte for byte. Standard library only."""

import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus

from drum_supervisor.http.messages import CLOSE, Response, message_response

# How long a client may take to send the head of a request.
HEAD_SECONDS = 30.0

# A connection that has waited for less than this is never closed to make room for another.
EVICTION_GRACE = 1.0

# How long a connection waits for its next request. Longer than the 60 seconds after which load balancers close idle
# connections: the load balancer should close first.
KEEP_ALIVE_SECONDS = 65.0

# Bytes per read.
READ_SIZE = 64 * 1024

CLIENT_GONE = "the client closed the connection"
BAD_CHUNKS = "its chunks are malformed"

_DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
REASON_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")

# Other repeated headers are joined by a comma (RFC 9110, 5.3); of these the last one wins.
_NOT_JOINED = ("content-type", "content-length")


def describe_timeout(seconds: float) -> str:
    return f"it did not arrive within {seconds:g} seconds"


def split_target(target: str) -> tuple[str, str]:
    """Return the decoded path and the raw query of a request target."""
    # `http://host/path` loses scheme and host; an empty path is `/` (RFC 9110, 4.2.3)
    path, _, query = target.partition("#")[0].partition("?")
    _, scheme_ends, rest = path.partition("://")
    if scheme_ends and not path.startswith("/"):
        path = "/" + rest.partition("/")[2]
    return decode_path(path.encode("latin-1")) or "/", query


def decode_path(path: bytes) -> str:
    """Percent-decode; invalid UTF-8 becomes U+FFFD."""
    return _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), path).decode("utf-8", "replace")


def merge_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers by lower-case name, as WSGI would pass them, so that all fronts agree."""
    merged: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if "_" in key:  # WSGI cannot tell it from a hyphen
            continue
        is_joined = key in merged and key not in _NOT_JOINED
        merged[key] = f"{merged[key]},{value}" if is_joined else value
    return merged


def says_close(connection: str) -> bool:
    return bool(connection) and "close" in [option.strip().lower() for option in connection.split(",")]


def has_body(headers: dict[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"


def response_headers(response: Response) -> list[tuple[str, str]]:
    """Return all headers of `response`; 204 and 304 have no body, so neither its type nor its length."""
    if response.status in (204, 304):
        return list(response.headers)
    of_body = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
    return [*of_body, *response.headers]


def encode_response(response: Response, omit_body: bool = False) -> bytes:
    """Return the bytes of `response`, with a `Date`, and `Connection: close` unless it sets that header itself."""
    headers = [*response_headers(response), ("Date", http_date())]
    if not any(name.lower() == "connection" for name, _ in headers):
        headers += CLOSE
    lines = [f"HTTP/1.1 {response.status} {REASON_PHRASES.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if omit_body else head + response.body


def encode_refusal(status: int, message: str) -> bytes:
    """Return the bytes of the response to a request which a server refuses."""
    return encode_response(message_response(status, f"ERROR: {message}"))


def http_date() -> str:
    """Return the current time for a `Date` header, whatever locale the user's code has set."""
    now = time.gmtime()
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {time.strftime('%Y %H:%M:%S', now)} GMT"


def wait_for_close(connection: socket.socket, seconds: float) -> None:
    """Close the sending side, then wait at most `seconds` for the client to close."""
    # closing a connection with unread data resets it, and the client may lose a response still in transit
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(READ_SIZE):
                return
