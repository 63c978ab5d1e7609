import importlib
import inspect
import re

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import hw_attributes

from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.metrics.catalogue import METRICS
from drum_supervisor.metrics.source import MetricsSource
from drum_supervisor.otel.supervisor_metrics import ATTRIBUTES, observe, send
from tests.collector import collecting
from tests.unit.metric_snapshots import GPUS, report

CONVENTIONS = [
    importlib.import_module(f"opentelemetry.semconv._incubating.metrics.{name}_metrics")
    for name in ("process", "container", "hw")
]


def source(fetch=lambda kind, max_age: report()) -> MetricsSource:
    return MetricsSource(fetch, lambda pids: GPUS)


def collect(metrics_source: MetricsSource):
    """Return the collected metrics by name."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(metrics_source, provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    if data is None:
        return {}
    return {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}


@pytest.fixture(scope="module")
def sent():
    return collect(source())


def documented(name: str) -> str:
    """Return the text of the semantic conventions about a metric, with its kind and unit."""
    (text,) = [
        text
        for module in CONVENTIONS
        for text in re.findall(rf'Final = "{re.escape(name)}"\n"""(.*?)"""', inspect.getsource(module), re.DOTALL)
    ]
    return text


def test_every_sent_metric_has_points(sent):
    assert set(sent) == {metric.instrument.name for metric in METRICS if metric.instrument}
    assert all(metric.data.data_points for metric in sent.values())


@pytest.mark.parametrize(
    "metric",
    [m for m in METRICS if m.instrument and not m.instrument.name.startswith("drum.")],
    ids=lambda m: m.instrument.name,
)
def test_names_units_and_kinds_follow_the_conventions(metric, sent):
    text = documented(metric.instrument.name)
    kind = re.search(r"Instrument: (\w+)", text)[1]
    assert re.search(r"Unit: (\S+)", text)[1] == metric.instrument.unit
    data = sent[metric.instrument.name].data
    is_sum = hasattr(data, "is_monotonic")
    assert kind == ("counter" if is_sum and data.is_monotonic else "updowncounter" if is_sum else "gauge")


def test_labels_become_attributes_unless_empty(sent):
    points = {
        tuple(sorted(point.attributes.items())): point.value for point in sent["process.memory.usage"].data.data_points
    }
    assert (("drum.program", "model-server"), ("drum.worker", "1")) in points
    assert (("drum.program", "supervisor"),) in points
    assert {label for metric in METRICS for label in metric.labels if metric.instrument} <= set(ATTRIBUTES)
    assert {hw_attributes.HW_ID, hw_attributes.HW_MODEL} <= set(ATTRIBUTES.values())


def test_unresponsive_supervisor_skips_points_silently(caplog):
    def fail(kind, max_age):
        raise ControlError("It is busy.")

    assert collect(source(fail)) == {}
    assert caplog.records == []


def test_end_sends_the_last_metrics():
    with collecting() as collector:
        end = send(source(), collector.environ)
        end()
        assert "process.memory.usage" in collector.metrics()
        resource = collector.messages("/v1/metrics")[-1].resource_metrics[0].resource
    attributes = {each.key: each.value.string_value for each in resource.attributes}
    assert attributes["service.name"] == "drum-supervisor"


def test_invalid_sdk_setting_is_one_warning(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "-1")
    send(source(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages == ["OpenTelemetry could not be set up: the supervisor's metrics are not sent."]
