import os
import time

import pytest

from drum_supervisor import __version__
from drum_supervisor.contract.masking import MASK
from drum_supervisor.telemetry import SPANS, Telemetry, setup_otel
from tests.support import TIMEOUT
from tests.unit.otel.conftest import PARENT, TRACE, in_fresh_interpreter, raised, request, values


def test_span_of_a_prediction(telemetry, collector):
    state = request(content_length=42, consumer_headers={"x-datarobot-consumer-id": "c1"})
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    telemetry.start_request(state, headers).finish(200)
    telemetry.shutdown()
    (span,) = collector.spans()
    assert span.name == "drum.invocations"
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=1")
    assert span.kind == span.SPAN_KIND_SERVER
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert values(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.request.body.size": 42,
        "http.request.header.x-datarobot-consumer-id": ["c1"],
        "http.response.status_code": 200,
        "drum.request_id": "id-1",
    }


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", "00-" + "x" * 10_000])
def test_span_without_a_valid_parent_starts_a_trace(telemetry, collector, traceparent):
    telemetry.start_request(request(), {"traceparent": traceparent} if traceparent else {}).finish(200)
    telemetry.shutdown()
    (span,) = collector.spans()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE


def test_unsampled_parent_means_no_span(telemetry, collector):
    telemetry.start_request(request(), {"traceparent": f"00-{TRACE}-{PARENT}-00"}).finish(200)
    telemetry.shutdown()
    assert collector.spans() == []


def test_span_names_follow_the_route(telemetry, collector):
    for route in SPANS:
        telemetry.start_request(request(route), {}).finish(200)
    telemetry.shutdown()
    assert [span.name for span in collector.spans()] == list(SPANS.values())
    assert set(SPANS.values()) == {
        "drum.invocations",
        "drum.transform",
        "drum.predictUnstructured",
        "drum.chat.completions",
    }


def test_probes_are_counted_but_not_traced(telemetry, collector):
    requests = [("/ping", "GET"), ("/", "GET"), ("/stats", "GET"), ("/predict", "OPTIONS"), ("", "BREW")]
    for route, method in requests:
        telemetry.start_request(request(route, method), {}).finish(200)
    telemetry.shutdown()
    assert collector.spans() == []
    counted = [values(point.attributes) for point in collector.metrics()["drum.requests"].sum.data_points]
    found = [(each["http.route"], each["http.request.method"]) for each in counted]
    assert found == [*requests[:-1], ("(none)", "_OTHER")]
    assert "drum.predictions.in_flight" not in collector.metrics()


def test_spans_of_user_code_are_children(telemetry, providers, collector):
    tracer = providers[0].get_tracer("of the user")
    observed = telemetry.start_request(request(), {})
    with observed.current(), tracer.start_as_current_span("of the user"):
        pass
    tracer.start_span("unrelated").end()
    observed.finish(200)
    telemetry.shutdown()
    spans = {span.name: span for span in collector.spans()}
    assert spans["of the user"].parent_span_id == spans["drum.invocations"].span_id
    assert spans["unrelated"].parent_span_id == b""


def test_failed_prediction(telemetry, collector):
    telemetry.start_request(request(), {}).finish(500, raised(ValueError("password=hunter2")))
    telemetry.shutdown()
    (span,) = collector.spans()
    assert (span.status.code, span.status.message) == (
        span.status.STATUS_CODE_ERROR,
        f"ValueError: password={MASK}",
    )
    (event,) = span.events
    exception = values(event.attributes)
    assert event.name == "exception"
    assert (exception["exception.type"], exception["exception.message"]) == ("ValueError", f"password={MASK}")
    assert "in raised" in exception["exception.stacktrace"]
    assert "hunter2" not in str(span)
    (point,) = collector.metrics()["drum.failures"].sum.data_points
    assert values(point.attributes) == {"drum.stage": "request", "error.type": "ValueError"}


def test_failure_without_an_exception(telemetry, collector):
    telemetry.start_request(request(), {}).finish(503)
    telemetry.shutdown()
    (span,) = collector.spans()
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert not span.events
    (point,) = collector.metrics()["drum.failures"].sum.data_points
    assert values(point.attributes) == {"drum.stage": "request", "error.type": "503"}


def test_client_error_is_no_failure(telemetry, collector):
    telemetry.start_request(request(), {}).finish(422)
    telemetry.shutdown()
    (span,) = collector.spans()
    assert span.status.code == span.status.STATUS_CODE_UNSET
    assert "drum.failures" not in collector.metrics()


def test_duration_and_count_by_route_and_status(telemetry, collector, clock):
    for seconds, status in ((0.25, 200), (0.75, 200), (2.0, 422)):
        observed = telemetry.start_request(request(started=clock.now), {})
        clock.now += seconds
        observed.finish(status)
        observed.finish(500)  # once is enough
    telemetry.shutdown()
    metrics = collector.metrics()
    duration = metrics["http.server.request.duration"]
    assert duration.unit == "s"
    assert {
        values(point.attributes)["http.response.status_code"]: (point.count, point.sum)
        for point in duration.histogram.data_points
    } == {200: (2, 1.0), 422: (1, 2.0)}
    assert {
        (values(point.attributes)["http.route"], values(point.attributes)["http.response.status_code"]): point.as_int
        for point in metrics["drum.requests"].sum.data_points
    } == {("/predict", 200): 2, ("/predict", 422): 1}
    bounds = duration.histogram.data_points[0].explicit_bounds
    assert (bounds[0], bounds[-1]) == (0.005, 300)


def test_predictions_in_flight(telemetry, providers, collector):
    first, _ = (telemetry.start_request(request(), {}) for _ in range(2))
    providers[1].force_flush()
    (point,) = collector.metrics()["drum.predictions.in_flight"].sum.data_points
    assert point.as_int == 2
    assert values(point.attributes) == {"http.route": "/predict"}
    first.finish(200)
    telemetry.shutdown()
    (point,) = collector.metrics()["drum.predictions.in_flight"].sum.data_points
    assert point.as_int == 1


def test_load_time_of_the_model(telemetry, collector):
    telemetry.record_load(12.5)
    telemetry.shutdown()
    (point,) = collector.metrics()["drum.model.load.duration"].histogram.data_points
    assert (point.count, point.sum) == (1, 12.5)


def test_failed_initialization_is_an_event_and_a_log_record(telemetry, collector):
    telemetry.record_failure(raised(ValueError("bad weights, token=abc123")), "load_model")
    telemetry.shutdown()
    (span,), (record,) = collector.spans(), collector.records()
    (event,) = span.events
    message = f"bad weights, token={MASK}"
    assert (span.name, event.name) == ("drum.initialization", "exception")
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert (record.severity_text, record.body.string_value) == (
        "ERROR",
        f"Initialization failed: ValueError: {message}",
    )
    for attributes in (values(event.attributes), values(record.attributes)):
        assert attributes["drum.stage"] == "load_model"
        assert attributes["exception.type"] == "ValueError"
        assert attributes["exception.message"] == message
        assert "in raised" in attributes["exception.stacktrace"]
    assert "abc123" not in f"{span}{record}"
    assert abs(record.time_unix_nano / 1e9 - time.time()) < TIMEOUT
    (point,) = collector.metrics()["drum.failures"].sum.data_points
    assert values(point.attributes) == {"drum.stage": "load_model", "error.type": "ValueError"}


def test_exit_in_user_code_is_a_failure(telemetry, collector):
    telemetry.record_failure(raised(SystemExit(7)), "init")
    telemetry.shutdown()
    (record,) = collector.records()
    assert record.body.string_value == "Initialization failed: SystemExit: the model called sys.exit(7)"


def test_each_worker_has_its_own_instance_id(collector):
    for _ in range(2):
        telemetry = Telemetry(*setup_otel(collector.environ))
        telemetry.record_failure(ValueError("bad"), "load_model")
        telemetry.shutdown()
    senders = [values(message.resource_logs[0].resource.attributes) for message in collector.messages("/v1/logs")]
    assert [sender["service.name"] for sender in senders] == ["drum-model-server"] * 2
    assert senders[0]["service.version"] == __version__
    assert senders[0]["service.instance.id"] != senders[1]["service.instance.id"]


def test_service_name_of_the_environment_wins(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my model")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,deployment.environment.name=test")
    telemetry = Telemetry(*setup_otel({**os.environ, **collector.environ}))
    telemetry.record_failure(ValueError("bad"), "load_model")
    telemetry.shutdown()
    sender = values(collector.messages("/v1/logs")[0].resource_logs[0].resource.attributes)
    assert (sender["service.name"], sender["service.instance.id"]) == ("my model", "one")
    assert sender["deployment.environment.name"] == "test"


def test_signal_may_have_its_own_endpoint_and_compression(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k1")
    address = f"http://127.0.0.1:{collector.server_address[1]}"
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"{address}/elsewhere",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{address}/v1/logs",
    }
    telemetry = Telemetry(*setup_otel(environ))
    telemetry.record_failure(ValueError("bad"), "load_model")
    telemetry.shutdown()
    (record,) = collector.records()
    assert "ValueError: bad" in record.body.string_value
    _, headers, _ = collector.received[0]
    assert (headers["Content-Encoding"], headers["api-key"]) == ("gzip", "k1")


def test_providers_can_be_made_global(collector):
    in_fresh_interpreter(
        "from opentelemetry import trace\n"
        "from drum_supervisor.telemetry import setup_otel\n"
        f"providers = setup_otel({collector.environ!r}, make_global=True)\n"
        "trace.get_tracer('of the user').start_span('of the user').end()\n"
        "providers[0].shutdown()\n"
    )
    assert [span.name for span in collector.spans()] == ["of the user"]
