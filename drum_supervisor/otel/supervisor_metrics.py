"""The supervisor's figures for an OpenTelemetry collector: observable instruments, read from the exporter's source."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from drum_supervisor import __version__
from drum_supervisor.metrics.catalogue import METRICS, Instrument, Kind, Metric
from drum_supervisor.metrics.source import NoFiguresError, Source
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
"""What labels are called in what is sent."""

_log = logging.getLogger(__name__)


def send(source: Source, environ: Mapping[str, str]) -> Callable[[], None]:
    """Send the figures to the collector that the environment names, again and again; return what ends that.

    How often, OTEL_METRIC_EXPORT_INTERVAL says, and everything else is OpenTelemetry's as well. If it cannot be set up,
    that is one warning in the log, and nothing is sent.
    """
    try:
        provider = build_meter_provider(
            environ.get(ENDPOINT, "").strip(), environ, shutdown_seconds=SHUTDOWN_SECONDS, service_name=SERVICE_NAME
        )
        observe(source, provider.get_meter("drum_supervisor", __version__))
    except Exception:  # noqa: BLE001 - whatever is in OTEL_* variables
        _log.warning("OpenTelemetry could not be set up: the supervisor's metrics are not sent.", exc_info=True)
        return lambda: None
    return lambda: shut_down(provider, SHUTDOWN_SECONDS)


def observe(source: Source, meter: "Meter") -> None:
    """Make an instrument of each metric that is sent."""
    for metric in METRICS:
        if metric.sent_as is not None:
            create = _maker(meter, metric.kind, metric.sent_as)
            create(metric.sent_as.name, [_observer(source, metric)], metric.sent_as.unit, metric.help)


def _maker(meter: "Meter", kind: Kind, instrument: Instrument) -> Callable[..., Any]:
    if kind is Kind.COUNTER:
        return meter.create_observable_counter
    return meter.create_observable_up_down_counter if instrument.adds_up else meter.create_observable_gauge


def _observer(source: Source, metric: Metric) -> "Callable[[CallbackOptions], Iterator[Observation]]":
    from opentelemetry.metrics import Observation  # noqa: PLC0415

    names = [ATTRIBUTES[label] for label in metric.labels]

    def observe(_: "CallbackOptions") -> "Iterator[Observation]":
        try:
            found = source.figures()
        except NoFiguresError:
            return  # the points are missing: the next time it may answer again
        for labels, value in metric.read(found):
            yield Observation(value, {name: text for name, text in zip(names, labels, strict=True) if text})

    return observe
