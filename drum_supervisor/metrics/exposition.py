"""Metrics in the formats of Prometheus, rendered by prometheus_client."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from drum_supervisor.metrics.catalogue import METRICS, Kind, Metric
from drum_supervisor.metrics.snapshot import MetricsSnapshot


def render_metrics(snapshot: MetricsSnapshot, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the best format of the Accept header (OpenMetrics only if named), and its content type."""
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_SnapshotCollector(snapshot))
    return encode(registry), content_type


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: MetricsSnapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            if metric.name and (family := _family(metric, self._snapshot)):
                yield family


def _family(metric: Metric, snapshot: MetricsSnapshot) -> Family | None:
    """Return the metric with its samples; None without any."""
    samples = list(metric.read(snapshot))
    if not samples:
        return None
    if metric.kind is Kind.INFO:
        family = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
        for labels, _ in samples:
            family.add_metric((), dict(zip(metric.labels, labels, strict=True)))
        return family
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    numbers = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        numbers.add_metric(labels, value)
    return numbers
