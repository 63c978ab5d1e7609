"""The spans, metrics and log records of a server."""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from drum_supervisor import __version__
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.contract.report_pipe import init_failed
from drum_supervisor.request_state import RequestState

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Span

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_SCOPE = "drum_supervisor"

# Those of https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, and longer ones for slow models.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300)
_LOAD_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_log = logging.getLogger(__name__)

_Signal = TypeVar("_Signal")
_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Guarded(Generic[_Signal]):
    """Catches all exceptions of a signal: users may pass any object as a provider.

    The first exception is a warning in the log, later ones are silent. Without a provider every call does nothing.
    """

    def __init__(self, name: str, create: Callable[[Any], _Signal], provider: object | None) -> None:
        self._name = name
        self._warned = threading.Lock()  # acquired by the first failure, and never released
        self._signal = self._attempt(create, provider) if provider is not None else None

    def call(self, function: Callable[[_Signal], _Result]) -> _Result | None:
        """Call `function` with the signal; return None without a signal, and after an exception."""
        return self._attempt(function, self._signal) if self._signal is not None else None

    def _attempt(self, function: Callable[[_Argument], _Result], argument: _Argument) -> _Result | None:
        try:
            return function(argument)
        except Exception as error:  # noqa: BLE001 - the provider is any object
            if self._warned.acquire(blocking=False):
                # Not exc_info: its chain includes the error being recorded, which may be unprintable.
                frames = "".join(traceback.format_exception(error, chain=False)).rstrip()
                _log.warning("OpenTelemetry %s failed; further failures are not logged.\n%s", self._name, frames)
            return None


class Tracing:
    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        self._api = trace
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._tracer: trace.Tracer = provider.get_tracer(_SCOPE, __version__)

    def start(self, name: str, state: RequestState, headers: Mapping[str, str]) -> "Span":
        """Start the span of a request, whose parent is in the headers."""
        attributes: dict[str, Any] = {
            "http.request.method": state.method,
            "http.route": state.route,
            "drum.request_id": state.request_id,
            **{f"http.request.header.{name}": [value] for name, value in state.consumer_headers.items()},
        }
        if state.content_length is not None:
            attributes["http.request.body.size"] = state.content_length
        parent = self._propagator.extract(headers)
        return self._tracer.start_span(name, parent, self._api.SpanKind.SERVER, attributes)

    def current(self, span: "Span") -> AbstractContextManager[object]:
        """Make `span` the parent of the spans started in the block."""
        return self._api.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def end(self, span: "Span", status: int, error: BaseException | None) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._fail(span, _exception_attributes(error, "request") if error is not None else {})
        span.end()

    def fail_initialization(self, error: BaseException, stage: str) -> None:
        """Record a span for a failed initialization."""
        exception = _exception_attributes(error, stage)
        span = self._tracer.start_span("drum.initialization")
        self._fail(span, exception)
        span.end()

    def _fail(self, span: "Span", exception: Mapping[str, str]) -> None:
        if exception:
            span.add_event("exception", dict(exception))
        span.set_status(self._api.StatusCode.ERROR, _sentence(exception) or None)


class Metrics:
    def __init__(self, provider: Any) -> None:
        meter: Meter = provider.get_meter(_SCOPE, __version__)
        self._request_duration = meter.create_histogram(
            "http.server.request.duration",
            "s",
            "Duration of requests, by route and status.",
            explicit_bucket_boundaries_advisory=_REQUEST_BUCKETS,
        )
        self._load_duration = meter.create_histogram(
            "drum.model.load.duration",
            "s",
            "Time the model took to load.",
            explicit_bucket_boundaries_advisory=_LOAD_BUCKETS,
        )
        self._requests = meter.create_counter("drum.requests", "{request}", "Requests, by route and status.")
        self._in_flight = meter.create_up_down_counter(
            "drum.predictions.in_flight", "{request}", "Predictions in progress."
        )
        self._failures = meter.create_counter("drum.failures", "{failure}", "Failures, by stage and error.")

    def count_in_flight(self, change: int, route: str) -> None:
        """Count a prediction which starts (1) or ends (-1)."""
        self._in_flight.add(change, {"http.route": route})

    def measure(self, state: RequestState, seconds: float, status: int, error: BaseException | None) -> None:
        labels: dict[str, str | int] = {
            "http.request.method": state.method if state.method in _METHODS else "_OTHER",
            "http.route": state.route or "(none)",
            "http.response.status_code": status,
        }
        self._request_duration.record(seconds, labels)
        self._requests.add(1, labels)
        if status >= 500:
            self.count_failure("request", str(status) if error is None else type(error).__name__)

    def measure_load(self, seconds: float) -> None:
        self._load_duration.record(seconds)

    def count_failure(self, stage: str, kind: str) -> None:
        """Count a failure; `kind` is an exception class or a status."""
        self._failures.add(1, {"drum.stage": stage, "error.type": kind})


class Logs:
    def __init__(self, provider: Any) -> None:
        from opentelemetry._logs import Logger, LogRecord, SeverityNumber  # noqa: PLC0415

        self._record = LogRecord
        self._severity = SeverityNumber.ERROR
        self._logger: Logger = provider.get_logger(_SCOPE, __version__)

    def fail_initialization(self, error: BaseException, stage: str) -> None:
        exception = _exception_attributes(error, stage)
        record = self._record(
            timestamp=time.time_ns(),
            severity_number=self._severity,
            severity_text="ERROR",
            body=f"Initialization failed: {_sentence(exception)}",
            attributes=dict(exception),
        )
        self._logger.emit(record)


def _exception_attributes(error: BaseException, stage: str) -> dict[str, str]:
    """Describe `error` by the semantic conventions, with secrets masked."""
    failure = init_failed(error, stage)
    return {
        "drum.stage": stage,
        "exception.type": type(error).__name__,
        "exception.message": mask_secrets(failure.message),
        "exception.stacktrace": mask_secrets(failure.traceback),
    }


def _sentence(exception: Mapping[str, str]) -> str:
    return ": ".join(exception[name] for name in ("exception.type", "exception.message") if exception.get(name))
