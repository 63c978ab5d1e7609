"""Requests and responses as services see them, and what a front must know to call a service."""

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
        headers: by lower-case name; repeated headers are joined by a comma, as in WSGI.
        body: empty unless the service's plan keeps it.
        body_too_large: the body was longer than the plan allows; it was read to its end and discarded.
        body_broken: why the body could not be read to its end (bad chunking, a silent client); else empty.
        body_not_stored: why the body could not be stored (disk full); else empty.
        file: a body too large for memory; `body` is empty then.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    body_too_large: bool = False
    body_broken: str = ""
    body_not_stored: str = ""
    file: BinaryIO | None = None

    def content(self) -> bytes:
        """Return the body, from memory or from its file."""
        if self.file is None:
            return self.body
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True)
class Response:
    """One HTTP response. Fronts add Content-Length and change nothing else."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Headers = ()


@dataclass(frozen=True)
class Pending:
    """A response which another thread is computing.

    Attributes:
        future: the response; it never holds an exception, but may be cancelled.
        seconds: how long to wait for it; None: without a limit.
        timeout_response: sent after that; `future` is cancelled.
    """

    future: "Future[Response]"
    seconds: float | None = None
    timeout_response: Response = field(default_factory=lambda: Response(504))


@dataclass(frozen=True)
class BodyPlan:
    """What a front does with the body of a request.

    Attributes:
        keep: maximum number of bytes to keep; 0: read the body and discard it.
        drain_seconds: time limit for reading the whole body; the service answers after it in any case.
    """

    keep: int = 0
    drain_seconds: float = 60.0


class Service(Protocol):
    """Answers requests; every front can serve one."""

    def plan(self, method: str, path: str) -> BodyPlan:
        """Return what to do with the body of a request; called when the head has arrived."""

    def answer(self, request: Request) -> Response | Pending:
        """Answer `request`, without blocking and without raising."""


def json_response(status: int, content: Any, headers: Headers = ()) -> Response:
    """Return a JSON response; `content` must not contain NaN or infinities."""
    return Response(status, json.dumps(content, allow_nan=False).encode("utf-8"), JSON_TYPE, headers)


def message_response(status: int, message: str, headers: Headers = ()) -> Response:
    """Return `{"message": message}`."""
    return json_response(status, {"message": message}, headers)
