import socket
import time

import pytest

from drum_supervisor.telemetry import Telemetry, setup_otel
from tests.unit.otel.conftest import request


def test_shutdown_sends_what_is_left(telemetry, providers, collector):
    telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")
    assert collector.received == []
    for provider, path in zip(providers, ("/v1/traces", "/v1/metrics", "/v1/logs"), strict=True):
        provider.shutdown()
        assert collector.received[-1][0] == path
    assert len(collector.received) == 3


def test_second_shutdown_does_nothing(telemetry, providers, collector, caplog):
    telemetry.record_failure(ValueError("bad"), "load_model")
    for _ in range(2):
        telemetry.shutdown()
        for provider in providers:
            provider.shutdown()
    assert [path for path, _, _ in collector.received] == ["/v1/traces", "/v1/metrics", "/v1/logs"]
    assert not telemetry.enabled
    assert not caplog.records


def test_signals_after_the_shutdown_are_no_error(telemetry, collector):
    observed = telemetry.start_request(request(), {})
    telemetry.shutdown()
    observed.finish(200)
    telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")
    assert collector.spans() == []


@pytest.fixture
def silent_environ(packages):
    """Return the environment for a collector which accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}


def fill(telemetry):
    """Record more than fits into one export."""
    for _ in range(1500):
        telemetry.start_request(request(), {}).finish(200)
    telemetry.record_failure(ValueError("bad"), "load_model")


def test_silent_collector_does_not_block_a_provider(silent_environ, caplog):
    providers = setup_otel(silent_environ, shutdown_seconds=0.1)
    fill(Telemetry(*providers))
    began = time.monotonic()
    for provider in providers:
        assert provider is not None
        provider.shutdown()
    assert time.monotonic() - began < 5  # each of the SDK's own would take ten seconds, or more
    lost = [record.getMessage() for record in caplog.records if "are lost" in record.getMessage()]
    assert [text.split("the last ")[1] for text in lost] == ["traces are lost.", "metrics are lost.", "logs are lost."]


def test_silent_collector_does_not_block_telemetry(silent_environ):
    providers = setup_otel(silent_environ, shutdown_seconds=0.5)
    telemetry = Telemetry(*providers)
    fill(telemetry)
    began = time.monotonic()
    telemetry.shutdown(timeout=0.2)
    assert time.monotonic() - began < 5


def test_missing_collector_does_not_block_telemetry(packages):
    with socket.socket() as bound:  # nobody listens, and nobody else can
        bound.bind(("127.0.0.1", 0))
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{bound.getsockname()[1]}"}
        telemetry = Telemetry(*setup_otel(environ, shutdown_seconds=0.1))
        fill(telemetry)
        began = time.monotonic()
        telemetry.shutdown()
        assert time.monotonic() - began < 5


def test_failing_shutdown_of_a_users_provider_is_logged(packages, caplog):
    class Broken:
        def get_logger(self, *_):
            return None

        def shutdown(self):
            raise ValueError("bad")

    telemetry = Telemetry(log_provider=Broken())
    telemetry.shutdown()
    assert "ValueError: bad" in caplog.text
