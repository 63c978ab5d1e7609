"""The same figures for a collector: names and units are those of the semantic conventions."""

import importlib
import inspect
import re

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.semconv._incubating.attributes import hw_attributes

from drum_supervisor.metrics.catalogue import METRICS
from drum_supervisor.metrics.source import NoFiguresError, Source
from drum_supervisor.otel.supervisor_metrics import ATTRIBUTES, observe, send
from tests.collector import collecting
from tests.unit.metric_figures import GPUS, answer

CONVENTIONS = [
    importlib.import_module(f"opentelemetry.semconv._incubating.metrics.{name}_metrics")
    for name in ("process", "container", "hw")
]


def source(ask=lambda max_age: answer()) -> Source:
    return Source(ask, lambda pids: GPUS)


def read(found: Source):
    """Return what a collection yields, by name."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(found, provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    if data is None:
        return {}
    return {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}


@pytest.fixture(scope="module")
def sent():
    return read(source())


def documented(name: str) -> str:
    """Return what the conventions say of a metric: its kind and its unit."""
    (text,) = [
        text
        for module in CONVENTIONS
        for text in re.findall(rf'Final = "{re.escape(name)}"\n"""(.*?)"""', inspect.getsource(module), re.DOTALL)
    ]
    return text


def test_every_metric_that_is_sent_has_points(sent):
    assert set(sent) == {metric.sent_as.name for metric in METRICS if metric.sent_as}
    assert all(metric.data.data_points for metric in sent.values())


@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.sent_as and not m.sent_as.name.startswith("drum.")], ids=lambda m: m.sent_as.name
)
def test_names_units_and_kinds_are_conventional(metric, sent):
    text = documented(metric.sent_as.name)
    kind = re.search(r"Instrument: (\w+)", text)[1]
    assert re.search(r"Unit: (\S+)", text)[1] == metric.sent_as.unit
    data = sent[metric.sent_as.name].data
    is_sum = hasattr(data, "is_monotonic")
    assert kind == ("counter" if is_sum and data.is_monotonic else "updowncounter" if is_sum else "gauge")


def test_labels_are_attributes_and_empty_ones_are_left_out(sent):
    points = {
        tuple(sorted(point.attributes.items())): point.value for point in sent["process.memory.usage"].data.data_points
    }
    assert (("drum.program", "model-server"), ("drum.worker", "1")) in points
    assert (("drum.program", "supervisor"),) in points
    assert {label for metric in METRICS for label in metric.labels if metric.sent_as} <= set(ATTRIBUTES)
    assert {hw_attributes.HW_ID, hw_attributes.HW_MODEL} <= set(ATTRIBUTES.values())


def test_supervisor_that_does_not_answer_leaves_points_out_and_no_error(caplog):
    def fail(max_age):
        raise NoFiguresError("It is busy.")

    assert read(source(fail)) == {}
    assert caplog.records == []


def test_what_is_sent_arrives_at_the_end_too():
    with collecting() as collector:
        end = send(source(), collector.environ)
        end()
        assert "process.memory.usage" in collector.metrics()
        resource = collector.messages("/v1/metrics")[-1].resource_metrics[0].resource
    attributes = {each.key: each.value.string_value for each in resource.attributes}
    assert attributes["service.name"] == "drum-supervisor"


def test_what_the_sdk_does_not_accept_is_one_warning(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "-1")
    send(source(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "are not sent" in caplog.text
