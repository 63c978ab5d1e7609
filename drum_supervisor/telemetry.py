"""Traces, metrics and failures for an OpenTelemetry collector, when the environment names one.

The packages of OpenTelemetry are the extra `otel`. They are imported when there is a collector, and only then.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from uuid import uuid4

from drum_supervisor import __version__
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.contract.report import init_failed
from drum_supervisor.convert import YES
from drum_supervisor.request_state import RequestState
from drum_supervisor.settings import RUNTIME_PARAMETER, runtime_parameter

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

Providers: TypeAlias = "tuple[TracerProvider | None, MeterProvider | None, LoggerProvider | None]"

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DISABLED = "OTEL_SDK_DISABLED"

# How long the shutdown of each provider may take: the collector may not answer, and the SDK would wait for minutes.
SHUTDOWN_SECONDS = 2.0

# Requests that are traced, by route; all others, probes above all, are only counted.
SPANS: Mapping[str, str] = {
    "/predict": "drum.invocations",
    "/predictions": "drum.invocations",
    "/invocations": "drum.invocations",
    "/transform": "drum.transform",
    "/predictUnstructured": "drum.predictUnstructured",
    "/predictionsUnstructured": "drum.predictUnstructured",
    "/chat/completions": "drum.chat.completions",
    "/v1/chat/completions": "drum.chat.completions",
}

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_SCOPE = "drum_supervisor"

# Of https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, and further: models take their time.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300)
_LOAD_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_log = logging.getLogger(__name__)


def setup_otel(
    environ: Mapping[str, str], *, shutdown_seconds: float = SHUTDOWN_SECONDS, make_global: bool = False
) -> Providers:
    """Return the providers of traces, metrics and logs that send to the collector in OTEL_EXPORTER_OTLP_ENDPOINT.

    All are None without that variable, when OTEL_SDK_DISABLED, variable or runtime parameter, says yes, and when they
    cannot be set up: that is one warning in the log, because telemetry must never keep a model from being served.

    Call it in the process that serves, after a fork, and `shutdown()` each of them in the end: nothing is sent after
    that. All other variables of OpenTelemetry are read by its SDK from the environment of the process.

    Args:
        environ: the environment.
        shutdown_seconds: how long the `shutdown()` of each provider may take; what is not sent by then is lost.
        make_global: let the user's code have them, `opentelemetry.trace.get_tracer()` for example.
    """
    if not environ.get(ENDPOINT, "").strip() or _is_disabled(environ):
        return None, None, None
    try:
        return _providers(environ, shutdown_seconds, make_global)
    except ImportError as error:
        _log.warning("%s is set, but %s: no telemetry is sent. Install drum_supervisor[otel].", ENDPOINT, error)
    except Exception:  # noqa: BLE001 - whatever is in OTEL_* variables
        _log.warning("OpenTelemetry could not be set up: no telemetry is sent.", exc_info=True)
    return None, None, None


def _is_disabled(environ: Mapping[str, str]) -> bool:
    parameter = runtime_parameter(environ.get(RUNTIME_PARAMETER + DISABLED, ""))
    return any(text.strip().lower() in YES for text in (environ.get(DISABLED, ""), parameter))


def _providers(environ: Mapping[str, str], shutdown_seconds: float, make_global: bool) -> Providers:
    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create(_resource_attributes(environ))
    spans = OTLPSpanExporter(endpoint=_endpoint(environ, "traces"))
    measurements = OTLPMetricExporter(endpoint=_endpoint(environ, "metrics"))
    records = OTLPLogExporter(endpoint=_endpoint(environ, "logs"))
    with ExitStack() as undo:
        # shutdown_on_exit would be the SDK's own shutdown, without a limit
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        traces.add_span_processor(BatchSpanProcessor(spans))
        undo.callback(_limit_shutdown(traces, spans, shutdown_seconds, "traces"))
        meters = MeterProvider([PeriodicExportingMetricReader(measurements)], resource, shutdown_on_exit=False)
        undo.callback(_limit_shutdown(meters, measurements, shutdown_seconds, "metrics"))
        logs = LoggerProvider(resource, shutdown_on_exit=False)
        logs.add_log_record_processor(BatchLogRecordProcessor(records))
        undo.callback(_limit_shutdown(logs, records, shutdown_seconds, "logs"))
        undo.pop_all()
    if make_global:
        trace.set_tracer_provider(traces)
        metrics.set_meter_provider(meters)
        _logs.set_logger_provider(logs)
    return traces, meters, logs


def _endpoint(environ: Mapping[str, str], signal: str) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    return own or f"{environ[ENDPOINT].strip().rstrip('/')}/v1/{signal}"


def _resource_attributes(environ: Mapping[str, str]) -> dict[str, str]:
    """Return who sends; what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say is left to them."""
    ours = {
        "service.name": "drum-model-server",
        "service.version": __version__,
        "service.instance.id": str(uuid4()),  # without it the metrics of one worker would overwrite another's
    }
    given = {entry.partition("=")[0].strip() for entry in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if environ.get("OTEL_SERVICE_NAME", "").strip():
        given.add("service.name")
    return {name: value for name, value in ours.items() if name not in given}


def _limit_shutdown(provider: Any, exporter: Any, seconds: float, what: str) -> Callable[[], None]:
    """Make `provider.shutdown()` return in time, and do nothing when it is called again; return it.

    The SDK's waits half a minute for its own threads, and the export's time-out begins anew with each batch
    (https://github.com/open-telemetry/opentelemetry-python/issues/4555).
    """
    shut_down = provider.shutdown
    begun = threading.Event()

    def shutdown(timeout_millis: float = 1000 * seconds) -> None:
        if begun.is_set():
            return
        begun.set()
        if not _within(timeout_millis / 1000, shut_down):
            _log.warning("The collector did not answer within %g s: the last %s are lost.", timeout_millis / 1000, what)
            exporter.shutdown()  # no further batch, and no further attempt

    provider.shutdown = shutdown
    return shutdown


def _within(seconds: float, call: Callable[[], object]) -> bool:
    """Call `call`, and return whether it has come to its end within `seconds`; what it raises is logged."""

    def run() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001
            _log.warning("The shutdown of OpenTelemetry failed.", exc_info=True)

    thread = threading.Thread(target=run, name="telemetry-shutdown", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


class Telemetry:
    """What a server tells the collector. Without providers it does nothing, and imports nothing.

    Args:
        trace_provider, metric_provider, log_provider: as `setup_otel` returns them.
        now: the clock of `RequestState.started`.
    """

    def __init__(
        self,
        trace_provider: "TracerProvider | None" = None,
        metric_provider: "MeterProvider | None" = None,
        log_provider: "LoggerProvider | None" = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._providers = [
            provider for provider in (trace_provider, metric_provider, log_provider) if provider is not None
        ]
        self._tracing = _Tracing(trace_provider) if trace_provider is not None else None
        self._instruments = (
            _Instruments(metric_provider.get_meter(_SCOPE, __version__)) if metric_provider is not None else _SILENT
        )
        self._logs = _Logs(log_provider) if log_provider is not None else None

    @property
    def enabled(self) -> bool:
        """Whether anything is sent."""
        return bool(self._providers)

    def start_request(self, state: RequestState, headers: Mapping[str, str]) -> "ObservedRequest":
        """A request has arrived; call `finish` of what is returned when its answer is sent.

        Args:
            state: the request; its route is a label of metrics, so it must be one of a known few.
            headers: by lower-case name; `traceparent` says which span is the parent.
        """
        span_name = SPANS.get(state.route) if state.method == "POST" else None
        span = self._tracing.start(span_name, state, headers) if self._tracing and span_name else None
        return ObservedRequest(state, span_name is not None, self._tracing, span, self._instruments, self._now)

    def record_load(self, seconds: float) -> None:
        """The model has been loaded."""
        self._instruments.load_duration.record(seconds)

    def record_failure(self, error: BaseException, stage: str) -> None:
        """The initialization has failed with `error` in `stage`: a span with an exception event, and a log record."""
        attributes = _exception_attributes(error, stage)
        self._instruments.failures.add(1, {"drum.stage": stage, "error.type": attributes["exception.type"]})
        if self._tracing is not None:
            self._tracing.fail_initialization(attributes)
        if self._logs is not None:
            self._logs.emit(f"Initialization failed: {_sentence(attributes)}", attributes)

    def shutdown(self, timeout: float = 3 * SHUTDOWN_SECONDS) -> None:
        """Send what is left and shut the providers down, in `timeout` seconds altogether; again: does nothing.

        For whoever has no `DrumRuntime`, which shuts the providers down by itself.
        """
        providers, self._providers = self._providers, []
        deadline = time.monotonic() + timeout
        for waiting, provider in zip(range(len(providers), 0, -1), providers, strict=True):
            _within(max(deadline - time.monotonic(), 0.0) / waiting, provider.shutdown)


class ObservedRequest:
    """A request that is being answered, for the collector."""

    def __init__(
        self,
        state: RequestState,
        is_prediction: bool,
        tracing: "_Tracing | None",
        span: "Span | None",
        instruments: "_Instruments",
        now: Callable[[], float],
    ) -> None:
        self._state = state
        self._is_prediction = is_prediction
        self._tracing = tracing
        self._span = span
        self._instruments = instruments
        self._now = now
        self._is_finished = False
        if is_prediction:
            instruments.in_flight.add(1, {"http.route": state.route})

    def current(self) -> AbstractContextManager[object]:
        """Within the block, spans that the user's code starts are children of this request's."""
        if self._tracing is None or self._span is None:
            return nullcontext()
        return self._tracing.current(self._span)

    def finish(self, status: int, error: BaseException | None = None) -> None:
        """The answer is sent, or cannot be; finishing again does nothing.

        Args:
            status: of the answer; 500 and above are failures.
            error: what the user's code raised.
        """
        if self._is_finished:
            return
        self._is_finished = True
        self._measure(status, error)
        if self._tracing is not None and self._span is not None:
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                attributes = _exception_attributes(error, "request") if error is not None else {}
                self._tracing.fail(self._span, attributes)
            self._span.end()

    def _measure(self, status: int, error: BaseException | None) -> None:
        state, instruments = self._state, self._instruments
        labels: dict[str, str | int] = {
            "http.request.method": state.method if state.method in _METHODS else "_OTHER",
            "http.route": state.route or "(none)",
            "http.response.status_code": status,
        }
        instruments.request_duration.record(self._now() - state.started, labels)
        instruments.requests.add(1, labels)
        if self._is_prediction:
            instruments.in_flight.add(-1, {"http.route": state.route})
        if status >= 500:
            kind = str(status) if error is None else type(error).__name__
            instruments.failures.add(1, {"drum.stage": "request", "error.type": kind})


class _Tracing:
    """OpenTelemetry's spans as they are needed here."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        self._api = trace
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._tracer = provider.get_tracer(_SCOPE, __version__)

    def start(self, name: str, state: RequestState, headers: Mapping[str, str]) -> "Span":
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
        return self._api.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def fail(self, span: "Span", exception: Mapping[str, str]) -> None:
        if exception:
            span.add_event("exception", dict(exception))
        span.set_status(self._api.StatusCode.ERROR, _sentence(exception) or None)

    def fail_initialization(self, exception: Mapping[str, str]) -> None:
        span = self._tracer.start_span("drum.initialization")
        self.fail(span, exception)
        span.end()


class _Instruments:
    """The metrics; seconds where nothing else is said."""

    def __init__(self, meter: "Meter") -> None:
        create = meter.create_histogram
        self.request_duration = create(
            "http.server.request.duration",
            "s",
            "Duration of requests, by route and status.",
            explicit_bucket_boundaries_advisory=_REQUEST_BUCKETS,
        )
        self.load_duration = create(
            "drum.model.load.duration",
            "s",
            "Time the model took to load.",
            explicit_bucket_boundaries_advisory=_LOAD_BUCKETS,
        )
        self.requests = meter.create_counter("drum.requests", "{request}", "Requests, by route and status.")
        self.in_flight = meter.create_up_down_counter(
            "drum.predictions.in_flight", "{request}", "Predictions that are being made."
        )
        self.failures = meter.create_counter("drum.failures", "{failure}", "Failures, by stage and error.")


class _Logs:
    """OpenTelemetry's log records as they are needed here."""

    def __init__(self, provider: "LoggerProvider") -> None:
        from opentelemetry._logs import LogRecord, SeverityNumber  # noqa: PLC0415

        self._record = LogRecord
        self._severity = SeverityNumber.ERROR
        self._logger = provider.get_logger(_SCOPE, __version__)

    def emit(self, body: str, attributes: Mapping[str, str]) -> None:
        """Emit a record of an error."""
        record = self._record(
            timestamp=time.time_ns(),
            severity_number=self._severity,
            severity_text="ERROR",
            body=body,
            attributes=dict(attributes),
        )
        self._logger.emit(record)


class _Silence:
    """Stands for a meter and for its instruments when there is no provider of metrics."""

    def __getattr__(self, name: str) -> Callable[..., "_Silence"]:
        return lambda *_, **__: self


_SILENT = _Instruments(cast("Meter", _Silence()))


def _exception_attributes(error: BaseException, stage: str) -> dict[str, str]:
    """Describe `error` in OpenTelemetry's words, without anything that looks like a secret."""
    failure = init_failed(error, stage)
    return {
        "drum.stage": stage,
        "exception.type": type(error).__name__,
        "exception.message": mask_secrets(failure.message),
        "exception.stacktrace": mask_secrets(failure.traceback),
    }


def _sentence(exception: Mapping[str, str]) -> str:
    return ": ".join(exception[name] for name in ("exception.type", "exception.message") if exception.get(name))
