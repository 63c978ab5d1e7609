"""Requests and responses as services see them, and what a front must know to feed a service."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

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
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    body_too_large: bool = False
    body_broken: str = ""


@dataclass(frozen=True)
class Response:
    """One HTTP response; fronts add Content-Length and leave everything else as it is."""

    status: int
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: Headers = ()


class Effort(Enum):
    """What an answer takes. All but NONE must not run on an event loop, and SHORT must not wait behind LONG."""

    NONE = "none"
    SHORT = "milliseconds, to read files"
    LONG = "as long as a prediction"


@dataclass(frozen=True)
class Plan:
    """How a front handles a request before and while the service answers it.

    Attributes:
        keep: how many bytes of the body to keep, at most; 0: drain it unread.
        effort: what the answer takes.
        drain_seconds: how long to read a body in all, before the answer is given anyway.
    """

    keep: int = 0
    effort: Effort = Effort.NONE
    drain_seconds: float = 60.0


class Service(Protocol):
    """What every front serves."""

    def plan(self, method: str, path: str) -> Plan:
        """Return how to treat a request for `path`; called when its head has arrived."""

    def answer(self, request: Request) -> Response:
        """Answer `request`. Never raises."""


def json_response(status: int, content: Any, headers: Headers = ()) -> Response:
    """Return a JSON response; NaN and infinities are not JSON and must not be in `content`."""
    return Response(status, json.dumps(content, allow_nan=False).encode("utf-8"), JSON_TYPE, headers)


def message_response(status: int, message: str, headers: Headers = ()) -> Response:
    """Return `{"message": message}`."""
    return json_response(status, {"message": message}, headers)
