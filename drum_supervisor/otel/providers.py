"""Providers of OpenTelemetry's SDK which export to a collector and shut down in bounded time."""

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from uuid import uuid4

from drum_supervisor import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

Providers: TypeAlias = "tuple[TracerProvider | None, MeterProvider | None, LoggerProvider | None]"

_log = logging.getLogger(__name__)


class Provider(Protocol):
    """The minimal provider of traces, metrics or logs."""

    def shutdown(self) -> object: ...


def build_providers(
    collector: str, environ: Mapping[str, str], *, shutdown_seconds: float, make_global: bool
) -> Providers:
    """Return all three providers; the arguments are those of `setup_otel`.

    Args:
        collector: the endpoint of all signals without one of their own in `environ`.

    Raises:
        ImportError: OpenTelemetry is not installed.
        Exception: the SDK rejects a setting in the environment of the process.
    """
    from opentelemetry import _logs, metrics, trace  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create(_resource_attributes(environ))
    spans = OTLPSpanExporter(endpoint=_endpoint(collector, environ, "traces"))
    records = OTLPLogExporter(endpoint=_endpoint(collector, environ, "logs"))
    with ExitStack() as undo:
        # shutdown_on_exit would call the SDK's own shutdown, without a time limit
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        traces.add_span_processor(BatchSpanProcessor(spans))
        undo.callback(_limit_shutdown(traces, spans, shutdown_seconds, "traces"))
        meters, end_meters = _meters(collector, environ, resource, shutdown_seconds)
        undo.callback(end_meters)
        logs = LoggerProvider(resource, shutdown_on_exit=False)
        logs.add_log_record_processor(BatchLogRecordProcessor(records))
        undo.callback(_limit_shutdown(logs, records, shutdown_seconds, "logs"))
        undo.pop_all()
    if make_global:
        trace.set_tracer_provider(traces)
        metrics.set_meter_provider(meters)
        _logs.set_logger_provider(logs)
    return traces, meters, logs


def build_meter_provider(
    collector: str, environ: Mapping[str, str], *, shutdown_seconds: float, service_name: str
) -> "MeterProvider":
    """Return the provider of metrics alone, as `build_providers`; `service_name` is the default."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    resource = Resource.create(_resource_attributes(environ, service_name))
    return _meters(collector, environ, resource, shutdown_seconds)[0]


def _meters(
    collector: str, environ: Mapping[str, str], resource: Any, shutdown_seconds: float
) -> "tuple[MeterProvider, Callable[[], None]]":
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

    measurements = OTLPMetricExporter(endpoint=_endpoint(collector, environ, "metrics"))
    meters = MeterProvider([PeriodicExportingMetricReader(measurements)], resource, shutdown_on_exit=False)
    return meters, _limit_shutdown(meters, measurements, shutdown_seconds, "metrics")


def shut_down(provider: Provider, seconds: float) -> None:
    """Shut `provider` down within `seconds`; its exceptions are logged."""
    _within(seconds, lambda: provider.shutdown())  # noqa: PLW0108 - a missing method is logged too


def _endpoint(collector: str, environ: Mapping[str, str], signal: str) -> str:
    specific = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    return specific or f"{collector.rstrip('/')}/v1/{signal}"


def _resource_attributes(environ: Mapping[str, str], service_name: str = "drum-model-server") -> dict[str, str]:
    """Return the attributes which OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do not set."""
    defaults = {
        "service.name": service_name,
        "service.version": __version__,
        "service.instance.id": str(uuid4()),  # without it workers overwrite each other's metrics
    }
    given = {entry.partition("=")[0].strip() for entry in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    if environ.get("OTEL_SERVICE_NAME", "").strip():
        given.add("service.name")
    return {name: value for name, value in defaults.items() if name not in given}


def _limit_shutdown(provider: Any, exporter: Any, seconds: float, what: str) -> Callable[[], None]:
    """Replace `provider.shutdown()` by one which is limited in time and works once; return it.

    The SDK's waits half a minute for its own threads, and the export timeout restarts with each batch
    (https://github.com/open-telemetry/opentelemetry-python/issues/4555).
    """
    shut_down_fully = provider.shutdown
    started = threading.Event()

    def shutdown(timeout_millis: float = 1000 * seconds) -> None:
        if started.is_set():
            return
        started.set()
        if not _within(timeout_millis / 1000, shut_down_fully):
            _log.warning("The collector did not answer within %g s: the last %s are lost.", timeout_millis / 1000, what)
            exporter.shutdown()  # no more batches, no more attempts

    provider.shutdown = shutdown
    return shutdown


def _within(seconds: float, call: Callable[[], object]) -> bool:
    """Return whether `call` ended within `seconds`; its exceptions are logged."""

    def run() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001
            _log.warning("The shutdown of OpenTelemetry failed.", exc_info=True)

    thread = threading.Thread(target=run, name="telemetry-shutdown", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
