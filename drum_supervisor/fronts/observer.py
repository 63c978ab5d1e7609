"""What happens around each request, whatever framework answers it: its state, its telemetry, its end."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from drum_supervisor.http.messages import Headers
from drum_supervisor.request_state import RequestState, handling
from drum_supervisor.telemetry import ObservedRequest, Telemetry


class Observer:
    """Sees every request of a worker.

    Args:
        route_name: returns the route of a path, one of a known few, or an empty text.
        telemetry: is told of each request.
        on_activity: called after the last byte of each answer.
        in_flight: gives a block that lasts as long as a request.
    """

    def __init__(
        self,
        route_name: Callable[[str], str],
        telemetry: Telemetry,
        on_activity: Callable[[], None],
        in_flight: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._route_name = route_name
        self._telemetry = telemetry
        self._on_activity = on_activity
        self._in_flight = in_flight

    def begin(self, method: str, path: str, headers: Mapping[str, str]) -> "Observation":
        """A head has arrived; `finish` what is returned when the answer is sent."""
        state = RequestState.from_headers(method, self._route_name(path), headers)
        observed = self._telemetry.start_request(state, headers)
        return Observation(state, observed, self._in_flight(), self._on_activity)


class Observation:
    """A request that is being answered. Within a `with` block it is the current one; there may be several.

    Attributes:
        status: of the answer, as soon as it is known.
    """

    def __init__(
        self,
        state: RequestState,
        observed: ObservedRequest,
        in_flight: AbstractContextManager[None],
        on_activity: Callable[[], None],
    ) -> None:
        self.status = 500
        self._state = state
        self._observed = observed
        self._in_flight = in_flight
        self._on_activity = on_activity
        self._is_finished = False
        in_flight.__enter__()

    @property
    def headers(self) -> Headers:
        """What every answer tells the client. DRUM spells the request id with underscores, everybody else does not."""
        return (("X-Request-ID", self._state.request_id), ("X_Request_ID", self._state.request_id))

    def __enter__(self) -> "Observation":
        self._handling = handling(self._state)
        self._current = self._observed.current()
        self._handling.__enter__()
        self._current.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._current.__exit__(None, None, None)
        self._handling.__exit__(None, None, None)

    def fail(self, error: BaseException) -> None:
        """The application has raised `error`, of which its server makes a 500, or nothing."""
        self.status, self._state.error = 500, error

    def finish(self) -> None:
        """The last byte is sent, or none will be; finishing again does nothing."""
        if self._is_finished:
            return
        self._is_finished = True
        try:
            self._observed.finish(self.status, self._state.error)
            self._on_activity()
        finally:
            self._in_flight.__exit__(None, None, None)
