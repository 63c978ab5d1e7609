"""Requests and responses as services see them, and what a front must know to feed a service."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

Headers = tuple[tuple[str, str], ...]

CLOSE: Headers = (("Connection", "close"),)
JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Request:
    """One HTTP request.

    Attributes:
        method: upper case.
        path: decoded, without the query.
        query: the raw query string, without `?`.
        headers: names in lower case; repeated ones are joined by a comma, as WSGI does.
        body: empty unless the service's plan keeps it.
        body_too_large: the body was longer than the plan allows; it was read to its end and thrown away.
        body_broken: why the body could not be read to its end (bad chunking, the client went silent); else empty.
        body_unkept: why the body could not be kept (the disk is full); else empty.
        file: has a body that is too large for the memory; `body` is empty then.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    body_too_large: bool = False
    body_broken: str = ""
    body_unkept: str = ""
    file: BinaryIO | None = None

    def content(self) -> bytes:
        """Return the body, wherever it is kept."""
        if self.file is None:
            return self.body
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True)
class Response:
    """One HTTP response; fronts add Content-Length and leave everything else as it is."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Headers = ()


@dataclass(frozen=True)
class Pending:
    """An answer that takes long, and is being made somewhere else.

    Attributes:
        future: the answer; it never has an exception, unless it is cancelled.
        seconds: how long to wait for it; None: as long as it takes.
        too_late: the answer after that; then `future` is cancelled.
    """

    future: "Future[Response]"
    seconds: float | None = None
    too_late: Response = field(default_factory=lambda: Response(504))


@dataclass(frozen=True)
class Plan:
    """How a front handles a request before and while the service answers it.

    Attributes:
        keep: how many bytes of the body to keep, at most; 0: drain it unread.
        drain_seconds: how long to read a body in all, before the answer is given anyway.
    """

    keep: int = 0
    drain_seconds: float = 60.0


class Service(Protocol):
    """What every front serves."""

    def plan(self, method: str, path: str) -> Plan:
        """Return how to treat a request for `path`; called when its head has arrived."""

    def answer(self, request: Request) -> Response | Pending:
        """Answer `request`. Returns at once, and never raises."""


def json_response(status: int, content: Any, headers: Headers = ()) -> Response:
    """Return a JSON response; NaN and infinities are not JSON and must not be in `content`."""
    return Response(status, json.dumps(content, allow_nan=False).encode("utf-8"), JSON_TYPE, headers)


def message_response(status: int, message: str, headers: Headers = ()) -> Response:
    """Return `{"message": message}`."""
    return json_response(status, {"message": message}, headers)
