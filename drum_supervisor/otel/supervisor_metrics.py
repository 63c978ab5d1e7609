"""The supervisor's metrics for an OpenTelemetry collector, as observable instruments."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drum_supervisor import __version__
from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.metrics.catalogue import METRICS, Instrument, Kind, Metric
from drum_supervisor.metrics.source import MetricsSource
from drum_supervisor.otel.environment import ENDPOINT
from drum_supervisor.otel.providers import build_meter_provider, shut_down

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

SHUTDOWN_SECONDS = 2.0  # the collector may not answer
SERVICE_NAME = "drum-supervisor"

ATTRIBUTES: Mapping[str, str] = {
    "program": "drum.program",
    "worker": "drum.worker",
    "phase": "drum.phase",
    "cause": "drum.cause",
    "to": "drum.to",
    "gpu": "drum.gpu",
    "uuid": "hw.id",
    "model": "hw.model",
}
"""The attribute of each label."""

_log = logging.getLogger(__name__)


def send(source: MetricsSource, environ: Mapping[str, str]) -> Callable[[], None]:
    """Send the metrics to the collector in `environ` every OTEL_METRIC_EXPORT_INTERVAL; return a function to end it.

    The SDK reads all other settings. If the set-up fails, log one warning and send nothing.
    """
    try:
        provider = build_meter_provider(
            environ.get(ENDPOINT, "").strip(), environ, shutdown_seconds=SHUTDOWN_SECONDS, service_name=SERVICE_NAME
        )
        observe(source, provider.get_meter("drum_supervisor", __version__))
    except Exception:  # noqa: BLE001 - OTEL_* variables may hold anything
        _log.warning("OpenTelemetry could not be set up: the supervisor's metrics are not sent.", exc_info=True)
        return lambda: None
    return lambda: shut_down(provider, SHUTDOWN_SECONDS)


def observe(source: MetricsSource, meter: "Meter") -> None:
    for metric in METRICS:
        if metric.instrument is not None:
            create = _factory(meter, metric.kind, metric.instrument)
            create(metric.instrument.name, [_observer(source, metric)], metric.instrument.unit, metric.help)


def _factory(meter: "Meter", kind: Kind, instrument: Instrument) -> Callable[..., Any]:
    if kind is Kind.COUNTER:
        return meter.create_observable_counter
    return meter.create_observable_up_down_counter if instrument.is_additive else meter.create_observable_gauge


def _observer(source: MetricsSource, metric: Metric) -> "Callable[[CallbackOptions], Iterator[Observation]]":
    from opentelemetry.metrics import Observation  # noqa: PLC0415

    names = [ATTRIBUTES[label] for label in metric.labels]

    def observe(_: "CallbackOptions") -> "Iterator[Observation]":
        try:
            snapshot = source.snapshot()
        except ControlError:
            return  # skip these points: the supervisor may answer the next time
        for labels, value in metric.read(snapshot):
            yield Observation(value, {name: text for name, text in zip(names, labels, strict=True) if text})

    return observe
