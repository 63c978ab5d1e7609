"""Traces, metrics and failures for an OpenTelemetry collector, if the environment names one.

The packages of OpenTelemetry are the extra `otel`, and only imported with a collector.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from drum_supervisor.otel.environment import ENDPOINT, is_enabled
from drum_supervisor.otel.providers import Provider, Providers, build_providers, shut_down
from drum_supervisor.otel.signals import Guarded, Logs, Metrics, Tracing
from drum_supervisor.request_state import RequestState

# Time limit for the shutdown of each provider: without it the SDK waits minutes for a collector that does not answer.
SHUTDOWN_SECONDS = 2.0

# Span names by route. All other requests, probes above all, are counted but not traced.
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

_log = logging.getLogger(__name__)


def setup_otel(
    environ: Mapping[str, str], *, shutdown_seconds: float = SHUTDOWN_SECONDS, make_global: bool = False
) -> Providers:
    """Return the providers of traces, metrics and logs for the collector in OTEL_EXPORTER_OTLP_ENDPOINT.

    All are None without that variable, and if OTEL_SDK_DISABLED (variable or runtime parameter) is true. All are None
    after one warning if the set-up fails: telemetry must never prevent serving.

    Call it in the serving process, after any fork, and call `shutdown()` of each provider at the end: it sends the
    rest. The SDK reads all other variables of OpenTelemetry from the environment of the process.

    Args:
        environ: the environment.
        shutdown_seconds: time limit of each `shutdown()`; data not sent by then is lost.
        make_global: also provide them to user code, as in `opentelemetry.trace.get_tracer()`.
    """
    if not is_enabled(environ):
        return None, None, None
    try:
        return build_providers(
            environ[ENDPOINT].strip(), environ, shutdown_seconds=shutdown_seconds, make_global=make_global
        )
    except ImportError as error:
        _log.warning("%s is set, but %s: no telemetry is sent. Install drum_supervisor[otel].", ENDPOINT, error)
    except Exception:  # noqa: BLE001 - OTEL_* variables may hold anything
        _log.warning("OpenTelemetry could not be set up: no telemetry is sent.", exc_info=True)
    return None, None, None


class Telemetry:
    """Records requests and the initialization. Does nothing, and imports nothing, without providers.

    No method raises: the first exception of a provider is one warning in the log.

    Args:
        trace_provider, metric_provider, log_provider: from `setup_otel`, for example.
        now: the clock of `RequestState.started`.
    """

    def __init__(
        self,
        trace_provider: Provider | None = None,
        metric_provider: Provider | None = None,
        log_provider: Provider | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._providers = [
            provider for provider in (trace_provider, metric_provider, log_provider) if provider is not None
        ]
        self._tracing = Guarded("traces", Tracing, trace_provider)
        self._metrics = Guarded("metrics", Metrics, metric_provider)
        self._logs = Guarded("logs", Logs, log_provider)

    @property
    def enabled(self) -> bool:
        """Whether any provider is set and not shut down."""
        return bool(self._providers)

    def start_request(self, state: RequestState, headers: Mapping[str, str]) -> "ObservedRequest":
        """Record the arrival of a request; call `finish` of the result when the response is sent.

        Args:
            state: the request. Its route becomes a metric attribute, so it must be one of a known few.
            headers: by lower-case name; `traceparent` names the parent span.
        """
        span_name = SPANS.get(state.route) if state.method == "POST" else None
        return ObservedRequest(state, headers, span_name, self._tracing, self._metrics, self._now)

    def record_load(self, seconds: float) -> None:
        """Record the load time of the model."""
        self._metrics.call(lambda metrics: metrics.measure_load(seconds))

    def record_failure(self, error: BaseException, stage: str) -> None:
        """Record a failed initialization: a span with an exception event, and a log record."""
        self._metrics.call(lambda metrics: metrics.count_failure(stage, type(error).__name__))
        self._tracing.call(lambda tracing: tracing.fail_initialization(error, stage))
        self._logs.call(lambda logs: logs.fail_initialization(error, stage))

    def shutdown(self, timeout: float = 3 * SHUTDOWN_SECONDS) -> None:
        """Send the rest and shut the providers down, within `timeout` seconds in total; may be called again.

        `DrumRuntime` shuts the providers down itself.
        """
        providers, self._providers = self._providers, []
        deadline = time.monotonic() + timeout
        for remaining, provider in zip(range(len(providers), 0, -1), providers, strict=True):
            shut_down(provider, max(deadline - time.monotonic(), 0.0) / remaining)


class ObservedRequest:
    """A request in progress; `Telemetry.start_request` returns it."""

    def __init__(
        self,
        state: RequestState,
        headers: Mapping[str, str],
        span_name: str | None,  # None for a request that is not traced
        tracing: Guarded[Tracing],
        metrics: Guarded[Metrics],
        now: Callable[[], float],
    ) -> None:
        self._state = state
        self._is_prediction = span_name is not None
        self._tracing = tracing
        self._metrics = metrics
        self._now = now
        self._is_finished = False
        self._span = tracing.call(lambda tracing: tracing.start(span_name, state, headers)) if span_name else None
        self._count_in_flight(1)

    def current(self) -> AbstractContextManager[object]:
        """Make the request's span the parent of the spans started in the block."""
        span = self._span
        if span is None:
            return nullcontext()
        return self._tracing.call(lambda tracing: tracing.current(span)) or nullcontext()

    def finish(self, status: int, error: BaseException | None = None) -> None:
        """Record that the response is sent, or cannot be; may be called again.

        Args:
            status: of the response; 500 and above are failures.
            error: the exception raised by user code, if any.
        """
        if self._is_finished:
            return
        self._is_finished = True
        seconds, span = self._now() - self._state.started, self._span
        self._metrics.call(lambda metrics: metrics.measure(self._state, seconds, status, error))
        self._count_in_flight(-1)
        if span is not None:
            self._tracing.call(lambda tracing: tracing.end(span, status, error))

    def _count_in_flight(self, change: int) -> None:
        if self._is_prediction:
            self._metrics.call(lambda metrics: metrics.count_in_flight(change, self._state.route))
