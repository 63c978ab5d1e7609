"""The current request of a server, for its log lines above all."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

# Headers of DataRobot's prediction service which identify the consumer.
CONSUMER_PREFIX = "x-datarobot-consumer-"

# The request id of log records outside of requests.
NO_REQUEST = "-"

_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_LENGTH = re.compile(r"[0-9]{1,18}")

# Not `uuid4`: its system call releases the GIL and has to wait for it again. Not `random` itself: the user's
# `random.seed(0)` must not affect ids. Forked workers reseed.
_random = Random()
os.register_at_fork(after_in_child=_random.seed)


def _new_request_id() -> str:
    return f"{_random.getrandbits(128):032x}"


@dataclass
class RequestState:
    """One request, independent of the web framework."""

    request_id: str  # the client's, or a new one; safe in log lines and headers
    route: str  # the path without prefix and trailing slash; empty for an unknown path
    method: str  # in upper case
    started: float = field(default_factory=time.monotonic)  # arrival of its head
    content_length: int | None = None  # announced size of its body in bytes
    consumer_headers: Mapping[str, str] = field(default_factory=dict)  # by lower-case name
    error: BaseException | None = field(default=None, compare=False, repr=False)  # raised by user code

    @classmethod
    def from_headers(
        cls,
        method: str,
        route: str,
        headers: Mapping[str, str],
        new_request_id: Callable[[], str] = _new_request_id,
        now: Callable[[], float] = time.monotonic,
    ) -> "RequestState":
        """Return the state of a request; header names are in lower case."""
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
    """Return the current request, also in threads and tasks with a copy of the context (`contextvars`)."""
    return _current.get()


@contextmanager
def handling(state: RequestState) -> Iterator[RequestState]:
    """Make `state` the current request of the block."""
    token = _current.set(state)
    try:
        yield state
    finally:
        _current.reset(token)


class RequestIdFilter(logging.Filter):
    """Adds `request_id` to every log record, for `%(request_id)s` in formats; drops none.

    Add it to handlers: a logger's filters do not see the records of its child loggers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):  # a record may bring its own
            state = _current.get()
            record.request_id = state.request_id if state else NO_REQUEST
        return True
