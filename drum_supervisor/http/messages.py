"""Requests and responses as services see them, and what a front must know to call a service."""

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

Headers = tuple[tuple[str, str], ...]

CLOSE: Headers = (("Connection", "close"),)
JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Request:
    """One HTTP request."""

    method: str  # upper case
    path: str  # decoded, without the query
    query: str = ""  # raw, without `?`
    headers: Mapping[str, str] = field(default_factory=dict)  # by lower-case name; repeated ones joined by a comma
    body: bytes = b""  # empty unless the service's plan keeps it
    body_too_large: bool = False  # longer than the plan allows: read to its end and discarded
    body_broken: str = ""  # why the body could not be read to its end: bad chunking, a silent client
    body_not_stored: str = ""  # why the body could not be stored: disk full, for example
    file: BinaryIO | None = None  # a body too large for memory; `body` is empty then

    def content(self) -> bytes:
        if self.file is None:
            return self.body
        self.file.seek(0)
        return self.file.read()


@dataclass(frozen=True)
class Response:
    """One HTTP response. Fronts add Content-Length, Content-Type and what the connection needs."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Headers = ()


@dataclass(frozen=True)
class Pending:
    """A response which another thread is computing."""

    future: Future[Response]  # never holds an exception, but may be cancelled
    seconds: float | None = None  # how long to wait for it; None: without a limit
    timeout_response: Response = field(default_factory=lambda: Response(504))  # sent after that; `future` is cancelled


@dataclass(frozen=True)
class BodyPlan:
    """What a front does with the body of a request."""

    keep: int = 0  # maximum number of bytes to keep; 0: read the body and discard it
    drain_seconds: float = 60.0  # time limit for reading the whole body; the service answers after it in any case


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
    return json_response(status, {"message": message}, headers)
