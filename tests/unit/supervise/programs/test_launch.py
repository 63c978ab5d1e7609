"""What a launch runs: the exporter, the user's configuration, paths and workers."""

import sys
from pathlib import Path

import pytest

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.launch import LaunchPlan, plan_launch
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.programs.render import render
from drum_supervisor.supervise.programs.supervisord_ini import ExtraPrograms

RUN_DIR = RunDir(Path("/run/drum"))
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def found(environ: dict[str, str] | None = None, **flags: str) -> Programs:
    launch = plan_launch(resolve(choose(flags, {})), ["true", "{fd}"], environ or {})
    return launch.programs(Address("127.0.0.1", 8080), RUN_DIR)


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
    assert "[program:exporter]" in render(those, RUN_DIR, ExtraPrograms())


class TestLaunch:
    def plan(self, argv: list[str], environ: dict[str, str] | None = None, **flags: str) -> LaunchPlan:
        return plan_launch(resolve(choose(flags, {})), argv, environ or {})

    @pytest.mark.parametrize(("command", "shares"), [(["true", "{fd}"], True), (["true", "{port}"], False)])
    def test_fd_in_the_command_shares_the_listener(self, command, shares):
        assert self.plan(command).shares_listener is shares

    def test_bad_gunicorn_parameter_is_refused_before_the_start(self, tmp_path):
        environ = {"MLOPS_RUNTIME_PARAM_DRUM_GUNICORN_WORKER_CLASS": '{"type": "string", "payload": "tornado"}'}
        with pytest.raises(UsageError, match="DRUM_GUNICORN_WORKER_CLASS: "):
            self.plan([], environ, server_type="gunicorn", code_dir=str(tmp_path))
        assert self.plan(["true", "{fd}"], environ).command.argv == ("true", "{fd}")

    def test_paths_are_absolute_where_the_working_directory_changes(self, tmp_path):
        config = tmp_path / "supervise.ini"
        config.write_text("[supervisord]\ndirectory = /\n")
        launch = self.plan([], code_dir="model", config=str(config))
        assert launch.settings.code_dir == str(Path("model").absolute())
        assert self.plan([], code_dir="model").settings.code_dir == "model"

    def test_number_of_workers_is_explained_if_it_was_left_open(self):
        assert self.plan(["true", "{port}"], workers="auto").workers_note.startswith("workers: 1, because")
        assert self.plan(["true", "{fd}"], workers="2").workers_note == ""

    def test_configuration_has_the_extra_programs(self, tmp_path):
        config = tmp_path / "supervise.ini"
        config.write_text("[program:cache]\ncommand = redis-server\n")
        launch = self.plan(["true", "{fd}"], config=str(config))
        text = launch.configuration(launch.programs(Address("127.0.0.1", 8080), RUN_DIR), RUN_DIR)
        assert "[program:model-server]" in text
        assert "[program:cache]\ncommand=redis-server" in text
