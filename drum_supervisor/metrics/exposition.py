"""Metrics as Prometheus reads them, by prometheus_client: its registry, its formats, its choice among them."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from drum_supervisor.metrics.catalogue import METRICS, Kind, Metric
from drum_supervisor.metrics.figures import Figures
from drum_supervisor.metrics.readings import Sample


def exposition(figures: Figures, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the best format that is accepted, and its content type.

    Args:
        accept: the header of that name; OpenMetrics only for those who ask for it.
    """
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(_Figures(figures))
    return encode(registry), content_type


class _Figures(Collector):
    """Collects what has been collected already."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            samples = list(metric.read(self._figures)) if metric.name else []
            if samples:
                yield _family(metric, samples)


def _family(metric: Metric, samples: Sequence[Sample]) -> Family:
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
