"""Telemetry, as a real collector on the loopback receives it: OTLP over HTTP, in OpenTelemetry's own types."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from drum_supervisor import __version__
from drum_supervisor.contract.masking import MASK
from drum_supervisor.request_state import RequestState
from drum_supervisor.telemetry import SPANS, Telemetry, setup_otel
from tests.collector import Collector, collecting
from tests.support import TIMEOUT

NOTHING = (None, None, None)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Remove what the machine may set for OpenTelemetry, and no proxy for the loopback."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def no_threads_left():
    """Wait until all threads have ended that were started meanwhile."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), thread


@pytest.fixture
def packages():
    """Skip without the extra."""
    pytest.importorskip("opentelemetry.sdk")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")


@pytest.fixture
def collector(packages: None) -> Iterator[Collector]:
    with collecting() as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def providers(collector):
    providers = setup_otel(collector.environ)
    assert all(providers)
    yield providers
    for provider in providers:
        provider.shutdown()


@pytest.fixture
def telemetry(providers, clock):
    return Telemetry(*providers, now=clock)


def request(route="/predict", method="POST", **changes):
    return RequestState("id-1", route, method, **{"started": 100.0, **changes})


def values(attributes):
    """Return protobuf's attributes as a dictionary."""
    return {entry.key: _value(entry.value) for entry in attributes}


def _value(value):
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return [_value(each) for each in found.values] if kind == "array_value" else found


def raised(error: BaseException) -> BaseException:
    """Return `error` with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


# --- whether anything is sent


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
)
def test_without_an_endpoint_there_are_no_providers(environ):
    assert setup_otel(environ) == NOTHING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_SDK_DISABLED", "True"),
        ("OTEL_SDK_DISABLED", "1"),
        ("MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED", "true"),
        ("MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED", '{"type": "boolean", "payload": true}'),
        ("MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED", '{"type": "string", "payload": "true"}'),
    ],
)
def test_disabled_there_are_no_providers(name, value):
    assert setup_otel({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", name: value}) == NOTHING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_SDK_DISABLED", ""),
        ("MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED", '{"type": "boolean", "payload": false}'),
    ],
)
def test_not_disabled_there_are_all_three(collector, name, value):
    providers = setup_otel({**collector.environ, name: value})
    assert [type(provider).__name__ for provider in providers] == ["TracerProvider", "MeterProvider", "LoggerProvider"]
    Telemetry(*providers).shutdown()


def test_without_providers_nothing_happens():
    telemetry = Telemetry()
    assert not telemetry.enabled
    observed = telemetry.start_request(request(), {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    with observed.current():
        observed.finish(500, ValueError("bad"))
    telemetry.record_load(1.5)
    telemetry.record_failure(ValueError("bad"), "load_model")
    telemetry.shutdown()


def in_fresh_interpreter(program):
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result


def test_without_an_endpoint_opentelemetry_is_not_imported():
    in_fresh_interpreter(
        "import sys\n"
        "from drum_supervisor.telemetry import Telemetry, setup_otel\n"
        "telemetry = Telemetry(*setup_otel({}))\n"
        "telemetry.record_failure(ValueError('bad'), 'load_model')\n"
        "telemetry.shutdown()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )


def test_without_the_extra_there_is_one_warning_and_no_telemetry():
    result = in_fresh_interpreter(
        "import sys, logging\n"
        "sys.modules['opentelemetry'] = None\n"
        "logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "from drum_supervisor.telemetry import setup_otel\n"
        "assert setup_otel({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:4318'}) == (None, None, None)\n"
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith("WARNING OTEL_EXPORTER_OTLP_ENDPOINT is set, but ")
    assert line.endswith("no telemetry is sent. Install drum_supervisor[otel].")


def test_what_the_sdk_does_not_accept_is_one_warning_and_no_telemetry(collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert setup_otel(collector.environ) == NOTHING
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "OpenTelemetry could not be set up" in caplog.text


# --- what is sent


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
def test_span_without_a_valid_parent_begins_a_trace(telemetry, collector, traceparent):
    telemetry.start_request(request(), {"traceparent": traceparent} if traceparent else {}).finish(200)
    telemetry.shutdown()
    (span,) = collector.spans()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != TRACE


def test_parent_that_is_not_sampled_is_obeyed(telemetry, collector):
    telemetry.start_request(request(), {"traceparent": f"00-{TRACE}-{PARENT}-00"}).finish(200)
    telemetry.shutdown()
    assert collector.spans() == []


def test_spans_are_named_after_what_is_asked_for(telemetry, collector):
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


def test_probes_and_what_is_no_prediction_are_not_traced_but_counted(telemetry, collector):
    requests = [("/ping", "GET"), ("/", "GET"), ("/stats", "GET"), ("/predict", "OPTIONS"), ("", "BREW")]
    for route, method in requests:
        telemetry.start_request(request(route, method), {}).finish(200)
    telemetry.shutdown()
    assert collector.spans() == []
    counted = [values(point.attributes) for point in collector.metrics()["drum.requests"].sum.data_points]
    found = [(each["http.route"], each["http.request.method"]) for each in counted]
    assert found == [*requests[:-1], ("(none)", "_OTHER")]
    assert "drum.predictions.in_flight" not in collector.metrics()


def test_spans_of_the_users_code_are_children(telemetry, providers, collector):
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


def test_mistake_of_the_client_is_no_failure(telemetry, collector):
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


def test_failed_initialization_is_an_exception_event_and_a_log_record(telemetry, collector):
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


def test_exit_of_the_users_code_is_a_failure_too(telemetry, collector):
    telemetry.record_failure(raised(SystemExit(7)), "init")
    telemetry.shutdown()
    (record,) = collector.records()
    assert record.body.string_value == "Initialization failed: SystemExit: the model called sys.exit(7)"


def test_sender_is_named_and_each_worker_on_its_own(collector):
    for _ in range(2):
        telemetry = Telemetry(*setup_otel(collector.environ))
        telemetry.record_failure(ValueError("bad"), "load_model")
        telemetry.shutdown()
    senders = [values(message.resource_logs[0].resource.attributes) for message in collector.messages("/v1/logs")]
    assert [sender["service.name"] for sender in senders] == ["drum-model-server"] * 2
    assert senders[0]["service.version"] == __version__
    assert senders[0]["service.instance.id"] != senders[1]["service.instance.id"]


def test_name_of_the_sender_is_left_to_the_environment(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my model")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,deployment.environment.name=test")
    telemetry = Telemetry(*setup_otel({**os.environ, **collector.environ}))
    telemetry.record_failure(ValueError("bad"), "load_model")
    telemetry.shutdown()
    sender = values(collector.messages("/v1/logs")[0].resource_logs[0].resource.attributes)
    assert (sender["service.name"], sender["service.instance.id"]) == ("my model", "one")
    assert sender["deployment.environment.name"] == "test"


def test_signal_may_have_an_endpoint_of_its_own_and_be_compressed(collector, monkeypatch):
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


def test_users_code_may_have_the_providers_too(collector):
    in_fresh_interpreter(
        "from opentelemetry import trace\n"
        "from drum_supervisor.telemetry import setup_otel\n"
        f"providers = setup_otel({collector.environ!r}, make_global=True)\n"
        "trace.get_tracer('of the user').start_span('of the user').end()\n"
        "providers[0].shutdown()\n"
    )
    assert [span.name for span in collector.spans()] == ["of the user"]


# --- the end


def test_each_provider_sends_what_is_left_when_it_is_shut_down(telemetry, providers, collector):
    telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")
    assert collector.received == []
    for provider, path in zip(providers, ("/v1/traces", "/v1/metrics", "/v1/logs"), strict=True):
        provider.shutdown()
        assert collector.received[-1][0] == path
    assert len(collector.received) == 3


def test_shutting_down_again_does_nothing(telemetry, providers, collector, caplog):
    telemetry.record_failure(ValueError("bad"), "load_model")
    for _ in range(2):
        telemetry.shutdown()
        for provider in providers:
            provider.shutdown()
    assert [path for path, _, _ in collector.received] == ["/v1/traces", "/v1/metrics", "/v1/logs"]
    assert not telemetry.enabled
    assert not caplog.records


def test_what_comes_after_the_shutdown_is_no_error(telemetry, collector):
    observed = telemetry.start_request(request(), {})
    telemetry.shutdown()
    observed.finish(200)
    telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")
    assert collector.spans() == []


@pytest.fixture
def silent_environ(packages):
    """Return the environment for a collector that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}


def fill(telemetry):
    """Give it more than one export has room for."""
    for _ in range(1500):
        telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")


def test_collector_that_never_answers_does_not_keep_a_provider_from_ending(silent_environ, caplog):
    providers = setup_otel(silent_environ, shutdown_seconds=0.1)
    fill(Telemetry(*providers))
    began = time.monotonic()
    for provider in providers:
        assert provider is not None
        provider.shutdown()
    assert time.monotonic() - began < 5  # each of the SDK's own would take ten seconds, or more
    lost = [record.getMessage() for record in caplog.records if "are lost" in record.getMessage()]
    assert [text.split("the last ")[1] for text in lost] == ["traces are lost.", "metrics are lost.", "logs are lost."]


def test_collector_that_never_answers_does_not_keep_telemetry_from_ending(silent_environ):
    providers = setup_otel(silent_environ, shutdown_seconds=0.5)
    telemetry = Telemetry(*providers)
    fill(telemetry)
    began = time.monotonic()
    telemetry.shutdown(timeout=0.2)
    assert time.monotonic() - began < 5


def test_collector_that_is_not_there_does_not_keep_telemetry_from_ending(packages):
    with socket.socket() as bound:  # nobody listens, and nobody else can
        bound.bind(("127.0.0.1", 0))
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{bound.getsockname()[1]}"}
        telemetry = Telemetry(*setup_otel(environ, shutdown_seconds=0.1))
        fill(telemetry)
        began = time.monotonic()
        telemetry.shutdown()
        assert time.monotonic() - began < 5


def test_provider_of_somebody_else_that_fails_is_logged(packages, caplog):
    class Broken:
        def get_logger(self, *_):
            return None

        def shutdown(self):
            raise ValueError("bad")

    telemetry = Telemetry(log_provider=Broken())
    telemetry.shutdown()
    assert "ValueError: bad" in caplog.text


# --- providers of the user


class ShutdownOnly:
    """The least that a user may give as a provider."""

    def __init__(self) -> None:
        self.shutdowns = 0

    def shutdown(self) -> None:
        self.shutdowns += 1


class Empty(ShutdownOnly):
    """Gives nothing to work with."""

    def get_tracer(self, *_: object) -> None:
        return None

    get_meter = get_logger = get_tracer


class Broken(ShutdownOnly):
    """Gives what fails when it is used."""

    def get_tracer(self, *_: object) -> "Broken":
        return self

    get_meter = get_logger = get_tracer

    def fail(self, *_: object, **__: object) -> None:
        raise ValueError("bad")

    start_span = emit = add = record = fail

    def create_histogram(self, *_: object, **__: object) -> "Broken":
        return self

    create_counter = create_up_down_counter = create_histogram


class BrokenSpan(Broken):
    """Gives spans that fail."""

    def start_span(self, *_: object) -> "BrokenSpan":
        return self

    set_attribute = add_event = set_status = end = Broken.fail


def use(telemetry):
    """Call all that a server calls."""
    observed = telemetry.start_request(request(), {})
    with observed.current():
        pass
    observed.finish(500, raised(ValueError("of the user")))
    telemetry.record_load(1.5)
    telemetry.record_failure(raised(ValueError("of the user")), "load_model")


@pytest.mark.parametrize("given", [ShutdownOnly, Empty, Broken, BrokenSpan])
def test_provider_that_cannot_be_used_is_one_warning(packages, caplog, given):
    providers = [given() for _ in range(3)]
    telemetry = Telemetry(*providers)
    for _ in range(2):
        use(telemetry)
    assert sorted(record.getMessage().partition("\n")[0] for record in caplog.records) == [
        f"OpenTelemetry's {signal} failed; this is not said again." for signal in ("logs", "metrics", "traces")
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    telemetry.shutdown()
    assert [provider.shutdowns for provider in providers] == [1, 1, 1]


@pytest.mark.parametrize("position", range(3))
def test_provider_that_cannot_be_used_does_not_silence_the_others(providers, collector, position):
    mixed = [ShutdownOnly() if number == position else provider for number, provider in enumerate(providers)]
    telemetry = Telemetry(*mixed)
    telemetry.record_failure(raised(ValueError("bad")), "load_model")
    telemetry.shutdown()
    paths = ["/v1/traces", "/v1/metrics", "/v1/logs"]
    assert [path for path, _, _ in collector.received] == [path for path in paths if path != paths[position]]


def test_user_gets_their_own_error_out_of_a_span_that_fails(packages):
    observed = Telemetry(trace_provider=BrokenSpan()).start_request(request(), {})
    with pytest.raises(KeyError, match="of the user"), observed.current():
        raise KeyError("of the user")


def test_error_that_cannot_be_shown_is_sent_all_the_same(telemetry, collector, caplog):
    class Unprintable:
        def __repr__(self):
            raise ValueError("no words")

    try:
        sys.exit(Unprintable())
    except SystemExit as error:
        telemetry.record_failure(error, "load_model")
    telemetry.shutdown()
    assert not caplog.records
    (record,) = collector.records()
    assert "its text cannot be shown: ValueError" in record.body.string_value
    assert len(collector.spans()) == 1


def test_provider_of_the_user_without_the_extra_is_one_warning():
    result = in_fresh_interpreter(
        "import sys, logging\n"
        "sys.modules['opentelemetry'] = None\n"
        "logging.basicConfig(format='%(levelname)s %(message)s')\n"
        "from drum_supervisor.telemetry import Telemetry\n"
        "class Provider:\n"
        "    def shutdown(self): print('shut down')\n"
        "telemetry = Telemetry(trace_provider=Provider())\n"
        "telemetry.record_failure(ValueError('bad'), 'load_model')\n"
        "telemetry.shutdown()\n"
    )
    assert result.stdout == "shut down\n"
    assert result.stderr.count("WARNING") == 1


def test_object_that_is_no_provider_at_all_is_a_warning(packages, caplog):
    telemetry = Telemetry(object(), object(), object())
    use(telemetry)
    telemetry.shutdown()
    assert len(caplog.records) == 6  # each signal, each shutdown
