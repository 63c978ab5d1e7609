"""Observing each request, whatever the framework: its state, its telemetry and its end."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from drum_supervisor.http.messages import Headers
from drum_supervisor.request_state import RequestState, handling


class RequestTelemetry(Protocol):
    """The telemetry of one request; `telemetry.ObservedRequest` implements it."""

    def current(self) -> AbstractContextManager[object]: ...
    def finish(self, status: int, error: BaseException | None = None) -> None: ...


class Observer:
    """Observes every request of a worker.

    Args:
        route_name: returns the route of a path, one of a fixed few, or an empty string.
        on_activity: called after the last byte of each response.
        in_flight: returns a context which is open while a request is in flight.
    """

    def __init__(
        self,
        route_name: Callable[[str], str],
        start_telemetry: Callable[[RequestState, Mapping[str, str]], RequestTelemetry],
        on_activity: Callable[[], None],
        in_flight: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._route_name = route_name
        self._start_telemetry = start_telemetry
        self._on_activity = on_activity
        self._in_flight = in_flight

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> "Observation":
        """Begin with the head of a request; call `finish` once the response is sent."""
        state = RequestState.from_headers(method, self._route_name(path), headers)
        telemetry = self._start_telemetry(state, headers)
        return Observation(state, telemetry, self._in_flight(), self._on_activity)


class Observation:
    """A request in flight; the current request within each `with` block."""

    def __init__(
        self,
        state: RequestState,
        telemetry: RequestTelemetry,
        in_flight: AbstractContextManager[None],
        on_activity: Callable[[], None],
    ) -> None:
        self.status = 500  # until the response begins
        self._state = state
        self._telemetry = telemetry
        self._in_flight = in_flight
        self._on_activity = on_activity
        self._is_finished = False
        in_flight.__enter__()

    @property
    def headers(self) -> Headers:
        """The headers of every response: the request id, spelled as usual and, with underscores, as DRUM does."""
        return (("X-Request-ID", self._state.request_id), ("X_Request_ID", self._state.request_id))

    def __enter__(self) -> "Observation":
        self._handling = handling(self._state)
        self._current = self._telemetry.current()
        self._handling.__enter__()
        self._current.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._current.__exit__(None, None, None)
        self._handling.__exit__(None, None, None)

    def fail(self, error: BaseException) -> None:
        """Record an error of the application; its server answers 500, or closes the connection."""
        self.status, self._state.error = 500, error

    def finish(self) -> None:
        """End the request: the last byte is sent, or none will be. Later calls do nothing."""
        if self._is_finished:
            return
        self._is_finished = True
        try:
            self._telemetry.finish(self.status, self._state.error)
            self._on_activity()
        finally:
            self._in_flight.__exit__(None, None, None)
