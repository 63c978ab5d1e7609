import logging

import pytest

from drum_supervisor.telemetry import Telemetry, setup_otel
from tests.unit.otel.conftest import NOTHING, PARENT, TRACE, in_fresh_interpreter, request


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
)
def test_no_endpoint_means_no_providers(environ):
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
def test_disabled_means_no_providers(name, value):
    assert setup_otel({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", name: value}) == NOTHING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "false"),
        ("OTEL_SDK_DISABLED", ""),
        ("MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED", '{"type": "boolean", "payload": false}'),
    ],
)
def test_enabled_means_all_three_providers(collector, name, value):
    providers = setup_otel({**collector.environ, name: value})
    assert [type(provider).__name__ for provider in providers] == ["TracerProvider", "MeterProvider", "LoggerProvider"]
    Telemetry(*providers).shutdown()


def test_telemetry_without_providers_does_nothing():
    telemetry = Telemetry()
    assert not telemetry.enabled
    observed = telemetry.start_request(request(), {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    with observed.current():
        observed.finish(500, ValueError("bad"))
    telemetry.record_load(1.5)
    telemetry.record_failure(ValueError("bad"), "load_model")
    telemetry.shutdown()


def test_no_endpoint_means_no_import_of_opentelemetry():
    in_fresh_interpreter(
        "import sys\n"
        "from drum_supervisor.telemetry import Telemetry, setup_otel\n"
        "telemetry = Telemetry(*setup_otel({}))\n"
        "telemetry.record_failure(ValueError('bad'), 'load_model')\n"
        "telemetry.shutdown()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )


def test_missing_extra_is_one_warning():
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


def test_invalid_sdk_setting_is_one_warning(collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert setup_otel(collector.environ) == NOTHING
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "OpenTelemetry could not be set up" in caplog.text
