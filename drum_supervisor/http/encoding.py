"""What every front does in the same way, so that their answers are the same byte for byte. Standard library only."""

import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from http import HTTPStatus

from drum_supervisor.http.messages import CLOSE, Response

# How long a client may take for the head of its request, in all.
HEAD_SECONDS = 30.0

# How long it may take for certain, even if there are more clients than can be served at once.
CROWDED_PATIENCE = 1.0

# How long a connection waits for its next request. Longer than the 60 seconds for which load balancers keep idle
# connections: they should be the ones to close.
KEEP_ALIVE_SECONDS = 65.0

# How much of a body is read at once.
PIECE = 64 * 1024

CLIENT_GONE = "the client closed the connection"
BAD_CHUNKS = "its chunks are malformed"

_DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_NOT_JOINED = ("content-type", "content-length")


def too_slow(seconds: float) -> str:
    """Say why a body is broken that had not arrived after `seconds`."""
    return f"it did not arrive within {seconds:g} seconds"


def split_target(target: str) -> tuple[str, str]:
    """Return the decoded path and the raw query of a request's target.

    An absolute target, `http://host/path`, loses scheme and host; an empty path is `/` (RFC 9110, 4.2.3).
    """
    path, _, query = target.partition("#")[0].partition("?")
    _, scheme_ends, rest = path.partition("://")
    if scheme_ends and not path.startswith("/"):
        path = "/" + rest.partition("/")[2]
    return decode_path(path.encode("latin-1")) or "/", query


def decode_path(path: bytes) -> str:
    """Decode `%C3%BC` and the like; what is no UTF-8 becomes U+FFFD, nothing is refused."""
    return _ENCODED.sub(lambda match: bytes((int(match[1], 16),)), path).decode("utf-8", "replace")


def merge_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers by their lower-case names, as WSGI has them, which loses more than the others.

    Repeated ones are joined by a comma (RFC 9110, 5.3), of those that describe the body the last holds; names with
    an underscore are left out, because WSGI cannot tell them from those with a hyphen.
    """
    merged: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        if "_" in key:
            continue
        is_joined = key in merged and key not in _NOT_JOINED
        merged[key] = f"{merged[key]},{value}" if is_joined else value
    return merged


def has_body(headers: dict[str, str]) -> bool:
    """Whether a request with these headers announces a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"


def response_headers(response: Response) -> list[tuple[str, str]]:
    """Return all headers of `response`: type and length of its body, which 204 and 304 do not have, and its own."""
    if response.status in (204, 304):
        return list(response.headers)
    described = [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
    return [*described, *response.headers]


def encoded(response: Response, omit_body: bool = False) -> bytes:
    """Return `response` as it goes over the wire, with a date; the connection is closed after it."""
    headers = [*response_headers(response), ("Date", http_date())]
    if not any(name.lower() == "connection" for name, _ in headers):
        headers += CLOSE
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if omit_body else head + response.body


def http_date() -> str:
    """Return the time as a `Date` header has it, whatever locale the user's code has set."""
    now = time.gmtime()
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {time.strftime('%Y %H:%M:%S', now)} GMT"


def wait_for_close(connection: socket.socket, seconds: float) -> None:
    """Say that no more will come, and wait until the client has read the answer and closes, but not longer.

    Closing a connection with unread data in it would reset it, and with it an answer that is still on its way.
    """
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(PIECE):
                return
