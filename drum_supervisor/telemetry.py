"""Traces, metrics and failures for an OpenTelemetry collector, when the environment names one.

The packages of OpenTelemetry are the extra `otel`. They are imported when there is a collector, and only then.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from drum_supervisor.otel.environment import ENDPOINT, is_wanted
from drum_supervisor.otel.providers import Provider, Providers, build_providers, shut_down
from drum_supervisor.otel.signals import Guarded, Logs, Metrics, Tracing
from drum_supervisor.request_state import RequestState

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
    if not is_wanted(environ):
        return None, None, None
    try:
        return build_providers(
            environ[ENDPOINT].strip(), environ, shutdown_seconds=shutdown_seconds, make_global=make_global
        )
    except ImportError as error:
        _log.warning("%s is set, but %s: no telemetry is sent. Install drum_supervisor[otel].", ENDPOINT, error)
    except Exception:  # noqa: BLE001 - whatever is in OTEL_* variables
        _log.warning("OpenTelemetry could not be set up: no telemetry is sent.", exc_info=True)
    return None, None, None


class Telemetry:
    """What a server tells the collector. Without providers it does nothing, and imports nothing.

    Nothing of it raises: what is wrong with a provider is one warning in the log.

    Args:
        trace_provider, metric_provider, log_provider: as `setup_otel` returns them.
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
        """Whether there are providers that are not shut down."""
        return bool(self._providers)

    def start_request(self, state: RequestState, headers: Mapping[str, str]) -> "ObservedRequest":
        """A request has arrived; call `finish` of what is returned when its answer is sent.

        Args:
            state: the request; its route is a label of metrics, so it must be one of a known few.
            headers: by lower-case name; `traceparent` says which span is the parent.
        """
        span_name = SPANS.get(state.route) if state.method == "POST" else None
        return ObservedRequest(state, headers, span_name, self._tracing, self._metrics, self._now)

    def record_load(self, seconds: float) -> None:
        """The model has been loaded."""
        self._metrics.tell(lambda metrics: metrics.measure_load(seconds))

    def record_failure(self, error: BaseException, stage: str) -> None:
        """The initialization has failed with `error` in `stage`: a span with an exception event, and a log record."""
        self._metrics.tell(lambda metrics: metrics.count_failure(stage, type(error).__name__))
        self._tracing.tell(lambda tracing: tracing.fail_initialization(error, stage))
        self._logs.tell(lambda logs: logs.fail_initialization(error, stage))

    def shutdown(self, timeout: float = 3 * SHUTDOWN_SECONDS) -> None:
        """Send what is left and shut the providers down, in `timeout` seconds altogether; again: does nothing.

        For whoever has no `DrumRuntime`, which shuts the providers down by itself.
        """
        providers, self._providers = self._providers, []
        deadline = time.monotonic() + timeout
        for waiting, provider in zip(range(len(providers), 0, -1), providers, strict=True):
            shut_down(provider, max(deadline - time.monotonic(), 0.0) / waiting)


class ObservedRequest:
    """A request that is being answered, for the collector.

    Args:
        state: the request.
        headers: by lower-case name.
        span_name: None for a request that is no prediction, and is not traced.
        tracing, metrics: what it is told to.
        now: the clock of `state.started`.
    """

    def __init__(
        self,
        state: RequestState,
        headers: Mapping[str, str],
        span_name: str | None,
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
        self._span = tracing.tell(lambda tracing: tracing.start(span_name, state, headers)) if span_name else None
        self._count_in_flight(1)

    def current(self) -> AbstractContextManager[object]:
        """Within the block, spans that the user's code starts are children of this request's."""
        span = self._span
        if span is None:
            return nullcontext()
        return self._tracing.tell(lambda tracing: tracing.current(span)) or nullcontext()

    def finish(self, status: int, error: BaseException | None = None) -> None:
        """The answer is sent, or cannot be; finishing again does nothing.

        Args:
            status: of the answer; 500 and above are failures.
            error: what the user's code raised.
        """
        if self._is_finished:
            return
        self._is_finished = True
        seconds, span = self._now() - self._state.started, self._span
        self._metrics.tell(lambda metrics: metrics.measure(self._state, seconds, status, error))
        self._count_in_flight(-1)
        if span is not None:
            self._tracing.tell(lambda tracing: tracing.end(span, status, error))

    def _count_in_flight(self, change: int) -> None:
        if self._is_prediction:
            self._metrics.tell(lambda metrics: metrics.count_in_flight(change, self._state.route))
