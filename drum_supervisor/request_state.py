"""What a server knows about the request that it answers, wherever that is asked for: in a line of the log above all."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

# Who asks, as DataRobot's prediction service passes it on.
CONSUMER_PREFIX = "x-datarobot-consumer-"

# The request id of a log record that belongs to no request.
NO_REQUEST = "-"

_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_LENGTH = re.compile(r"[0-9]{1,18}")

# Not `uuid4`: asking the system means to wait for the interpreter once more. Not `random` itself: the user's
# `random.seed(0)` must not count. A worker that was forked begins anew.
_random = Random()
os.register_at_fork(after_in_child=_random.seed)


def _new_request_id() -> str:
    return f"{_random.getrandbits(128):032x}"


@dataclass
class RequestState:
    """One request, without the framework that received it.

    Attributes:
        request_id: the client's, or a new one; safe in a log line and in a header.
        route: the path as the routes have it, without prefix and trailing slash; empty when nothing serves the path.
        method: upper case.
        started: when its head had arrived, `time.monotonic()`.
        content_length: of its body in bytes, as announced; None when it was not.
        consumer_headers: the headers that say on whose behalf it was sent, by lower-case name.
        error: what the user's code raised for it; None as long as it did not.
    """

    request_id: str
    route: str
    method: str
    started: float = field(default_factory=time.monotonic)
    content_length: int | None = None
    consumer_headers: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @classmethod
    def from_headers(
        cls,
        method: str,
        route: str,
        headers: Mapping[str, str],
        new_request_id: Callable[[], str] = _new_request_id,
        now: Callable[[], float] = time.monotonic,
    ) -> "RequestState":
        """Return the state of a request with these headers, whose names are in lower case."""
        given = headers.get("x-request-id", "").strip()
        length = headers.get("content-length", "").strip()
        return cls(
            request_id=given if _REQUEST_ID.fullmatch(given) else new_request_id(),
            route=route,
            method=method,
            started=now(),
            content_length=int(length) if _LENGTH.fullmatch(length) else None,
            consumer_headers={name: value for name, value in headers.items() if name.startswith(CONSUMER_PREFIX)},
        )


_current: ContextVar[RequestState | None] = ContextVar("request_state", default=None)


def current_request() -> RequestState | None:
    """Return the request that is answered here; threads and tasks know it when they got a copy of the context."""
    return _current.get()


@contextmanager
def handling(state: RequestState) -> Iterator[RequestState]:
    """Within the block `state` is the current request."""
    token = _current.set(state)
    try:
        yield state
    finally:
        _current.reset(token)


class RequestIdFilter(logging.Filter):
    """Gives every log record a `request_id`, for `%(request_id)s` in a format; it drops none.

    Add it to handlers: the filters of a logger do not see what comes from the loggers below it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):  # whoever logs on behalf of another request has set its own
            state = _current.get()
            record.request_id = state.request_id if state else NO_REQUEST
        return True
