"""Whether there is an exporter, and its restart delays."""

import sys
from pathlib import Path

import pytest

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.exporter import restart_delay, with_exporter
from drum_supervisor.supervise.programs.command import Command
from drum_supervisor.supervise.programs.plan import plan_programs
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.programs.render import render

RUN_DIR = RunDir(Path("/run/drum"))
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def found(environ: dict[str, str] | None = None, **flags: str) -> Programs:
    settings = resolve(choose(flags, {}))
    plain = plan_programs(settings, Command(("true", "{fd}")), Address("127.0.0.1", 8080), RUN_DIR)
    return with_exporter(plain, settings, environ or {}, RUN_DIR)


def test_no_exporter_without_address_or_collector():
    assert found().exporter is None


def test_exporter_for_an_address():
    exporter = found(metrics_address="127.0.0.1:9100", stop_timeout="7").exporter
    assert exporter.argv[0] == sys.executable
    assert exporter.argv[-5:] == (
        "drum_supervisor.serve.exporter",
        "--socket",
        "/run/drum/supervisor.sock",
        "--stop-timeout",
        "7",
    )


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318/v1/metrics"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, False),
        ({**COLLECTOR, "OTEL_METRICS_EXPORTER": "none"}, False),
        ({**COLLECTOR, "OTEL_METRICS_EXPORTER": "otlp"}, True),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "true"}, False),
        ({**COLLECTOR, "MLOPS_RUNTIME_PARAM_OTEL_SDK_DISABLED": '{"type": "boolean", "payload": true}'}, False),
    ],
)
def test_exporter_for_a_collector(environ, wanted):
    assert (found(environ).exporter is not None) is wanted


def test_no_exporter_for_a_collector_without_opentelemetry(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    assert found(COLLECTOR).exporter is None
    assert found(COLLECTOR, metrics_address="127.0.0.1:0").exporter is not None


def test_address_without_prometheus_client_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(UsageError, match=r"pip install 'drum_supervisor\[metrics\]'"):
        found(metrics_address="127.0.0.1:9100")


def test_exporter_does_not_serve_the_address():
    those = found(metrics_address="127.0.0.1:9100")
    assert those.exporter in those.all
    assert those.exporter not in those.on_the_address
    assert "[program:exporter]" in render(those, RUN_DIR)


def test_restart_delay_grows_to_its_maximum():
    assert [restart_delay(deaths) for deaths in (1, 2, 3, 6, 7, 10**6)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
