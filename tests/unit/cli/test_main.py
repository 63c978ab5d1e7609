"""The command line in this process: help, mistakes, and the search for a running supervisor."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from drum_supervisor import __version__
from drum_supervisor.cli import stats
from drum_supervisor.cli.main import cli, main
from drum_supervisor.config.settings import DECLARATIONS
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.failure_report import Cause, FailureReport, write_failure
from drum_supervisor.supervise.host import run_dir
from drum_supervisor.supervise.host.run_dir import RunDir

COMMANDS = cli.list_commands(click.Context(cli))
CLIENTS = ["status", "failure", "restart", "stop", "stats"]
WITH_SETTINGS = ["start", "serve", "config"]


def command_named(command: str) -> click.Command:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return found


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, short_path: Path) -> pytest.MonkeyPatch:
    """An environment without settings, and an empty folder for run directories."""
    names = {variable for declared in DECLARATIONS.values() for variable in declared.all_variables}
    for name in (*names, "SAGEMAKER_BIND_TO_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    return monkeypatch


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: object) -> Result:
        code = main([str(argument) for argument in argv])
        return Result(code, *capfd.readouterr())

    return call


def is_one_clear_line(text: str) -> bool:
    return text.startswith("drum-supervise: ") and text.endswith(".\n") and text.count("\n") == 1


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("option", ["--help", "-h"])
    def test_command_lists_its_options(self, run, command, option):
        result = run(command, option)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"Usage: drum-supervise {command} ")
        for parameter in command_named(command).params:
            if isinstance(parameter, click.Option):
                assert max(parameter.opts, key=len) in result.out

    def test_group_lists_the_commands(self, run):
        result = run("--help")
        assert result.code == 0
        assert all(re.search(rf"^  {command} .*\w\.$", result.out, re.MULTILINE) for command in COMMANDS)  # none is cut

    def test_start_shows_defaults_and_variables(self, run):
        out = " ".join(run("start", "--help").out.split())
        assert "[default: 0.0.0.0:8080; also from: ADDRESS]" in out
        assert "also from: MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS, MAX_WORKERS" in out

    def test_start_shows_examples(self, run):
        assert "drum-supervise start -- gunicorn -b fd://{fd} app:app" in run("start", "--help").out

    @pytest.mark.parametrize("declared", DECLARATIONS.values(), ids=lambda declared: declared.name)
    def test_every_setting_is_an_option(self, declared):
        for command in WITH_SETTINGS:
            options = {
                option for each in command_named(command).params for option in (*each.opts, *each.secondary_opts)
            }
            assert {declared.option, declared.off or declared.option} <= options

    def test_no_arguments_shows_help(self, run):
        result = run()
        assert "Usage: drum-supervise" in result.out + result.err

    def test_version(self, run):
        assert run("--version") == Result(0, f"drum-supervise, version {__version__}\n", "")


class TestMistakes:
    @pytest.mark.parametrize("command", [each for each in COMMANDS if each != "ctl"])  # its options are supervisorctl's
    def test_unknown_option_is_named(self, run, command):
        result = run(command, "--colour")
        assert result.code == 2
        assert "No such option" in result.err
        assert "--colour" in result.err
        assert "Traceback" not in result.err

    def test_unknown_command_is_named(self, run):
        result = run("begin")
        assert result.code == 2
        assert "No such command 'begin'" in result.err

    @pytest.mark.parametrize("command", WITH_SETTINGS)
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--workers", "many"),
            ("--workers", "0"),
            ("--workers", ""),
            ("--address", "8080"),
            ("--server-type", "django"),
            ("--startup-timeout", "-1"),
            ("--ready", "soon"),
            ("--profile", "swarm"),
            ("--failed-ping", "99"),
            ("--max-body", "much"),
            ("--config", "/no/such/file"),
            ("--stop-timeout", "5\n6"),
        ],
    )
    def test_bad_value_is_one_clear_line(self, run, command, option, value):
        result = run(command, option, value)
        assert (result.code, result.out) == (2, "")
        assert is_one_clear_line(result.err)
        assert option in result.err
        assert repr(value) in result.err

    def test_bad_variable_is_named(self, run, environ):
        environ.setenv("DRUM_SUPERVISOR_WORKERS", "many")
        result = run("config")
        assert (result.code, is_one_clear_line(result.err)) == (2, True)
        assert "$DRUM_SUPERVISOR_WORKERS" in result.err

    @pytest.mark.parametrize(
        ("option", "value"),
        [("--worker", "0"), ("--worker", "x"), *(("--timeout", value) for value in ("-1", "nan", "inf", "soon"))],
    )
    def test_bad_number_for_restart(self, run, option, value):
        result = run("restart", option, value)
        assert result.code == 2
        assert f"Invalid value for '{option}': " in result.err
        assert value in result.err

    def test_option_without_value(self, run):
        result = run("start", "--workers")
        assert result.code == 2
        assert "'--workers' requires an argument" in result.err

    @pytest.mark.parametrize("value", ["true", "no"])
    def test_switch_takes_no_value(self, run, value):
        # click would take it for the command to run
        result = run("config", f"--with-error-server={value}")
        assert result.code == 2


class TestConfig:
    def test_shows_every_setting_with_its_source(self, run, environ):
        environ.setenv("MAX_WORKERS", "3")
        result = run("config", "--profile", "kubernetes", "--code-dir", "/model")
        assert (result.code, result.err) == (0, "")
        lines = [line.split() for line in result.out.splitlines()]
        assert ["--workers", "3", "($MAX_WORKERS)"] in lines
        assert ["--failed-ping", "503", "(profile", "kubernetes)"] in lines
        assert ["--code-dir", "/model", "(flag)"] in lines
        assert ["--target-type", "-", "(default)"] in lines
        assert {line[0] for line in lines if line and line[-1].endswith(")")} >= {
            declared.option for declared in DECLARATIONS.values()
        }

    def test_shows_the_rendered_configuration(self, run):
        out = run("config", "--workers", "2", "--", "uvicorn", "app:app", "--fd", "{fd}").out
        assert "[program:model-server-2]\ncommand=uvicorn app:app --fd 3\n" in out
        assert "[program:error-server]" in out

    def test_shows_the_given_run_directory(self, run, tmp_path):
        out = run("config", "--run-dir", tmp_path / "run", "--code-dir", "/model").out
        assert f"file={tmp_path}/run/supervisor.sock\n" in out
        assert not (tmp_path / "run").exists()

    def test_json(self, run):
        result = run("config", "--json", "--no-error-server", "--code-dir", "/model")
        record = json.loads(result.out)
        assert result.code == 0
        assert list(record["settings"]) == list(DECLARATIONS)
        assert record["settings"]["with_error_server"] == {"value": "false", "source": "flag"}
        assert record["settings"]["workers"] == {"value": "1", "source": "default"}
        assert "[program:model-server]" in record["supervisord"]

    def test_switch_can_be_turned_on_and_off(self, run):
        for option, value in (("--with-error-server", "true"), ("--no-error-server", "false")):
            record = json.loads(run("config", "--json", option, "--code-dir", "/model").out)
            assert record["settings"]["with_error_server"]["value"] == value

    def test_reads_the_file(self, run, tmp_path):
        path = tmp_path / "supervise.ini"
        path.write_text("[drum-supervise]\nworkers = 7\ncode-dir = /model\n")
        assert f"--workers               7  ({path})".split() in [
            line.split() for line in run("config", "--config", path).out.splitlines()
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "Nothing to run"),
            (["--listener", "bind", "--", "serve", "{fd}"], "--listener bind"),
            (["--workers", "2", "--", "serve"], "--workers 2"),
            (["--ready", "port", "--", "serve", "{fd}"], "--ready port"),
        ],
    )
    def test_contradiction_is_refused(self, run, options, message):
        result = run("config", *options)
        assert result.code == 2
        assert message in result.err
        assert "Traceback" not in result.err

    def test_closed_stdout_prints_no_traceback(self):
        reading, writing = os.pipe()
        os.close(reading)
        argv = [sys.executable, "-m", "drum_supervisor", "config", "--code-dir", "/model"]
        with open(writing, "wb") as closed:
            done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")


class TestStats:
    def test_interval_needs_watch(self, run):
        assert run("stats", "--interval", "2") == Result(2, "", "drum-supervise: --interval needs --watch.\n")

    @pytest.mark.parametrize("value", ["0", "0.05"])
    def test_interval_has_a_minimum(self, run, value):
        result = run("stats", "--watch", "--interval", value)
        assert (result.code, is_one_clear_line(result.err)) == (2, True)
        assert f"--interval {value}: give at least 0.1 s" in result.err

    def test_missing_rich_says_what_to_install(self, environ):
        environ.setitem(sys.modules, "rich", None)
        for name in [name for name in sys.modules if name.startswith(("rich.", "drum_supervisor.cli.live"))]:
            environ.delitem(sys.modules, name)
        with pytest.raises(
            UsageError, match=r"--watch in a terminal needs rich: pip install 'drum_supervisor\[watch\]'"
        ):
            stats._import_live_view()


class TestNoSupervisor:
    @pytest.mark.parametrize("command", CLIENTS)
    def test_is_found(self, run, command):
        result = run(command)
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "drum-supervise: No running supervisor of this user was found. If it was started with --run-dir, give the "
            "same here.\n"
        )

    @pytest.mark.parametrize("command", CLIENTS)
    @pytest.mark.parametrize("name", ["empty", "none", "file"])
    def test_runs_in_the_given_directory(self, run, tmp_path, command, name):
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").touch()
        result = run(command, "--run-dir", tmp_path / name)
        assert (result.code, result.out) == (2, "")
        assert is_one_clear_line(result.err)
        assert f"No supervisor runs in {tmp_path / name}" in result.err

    def test_runs_in_the_directory_from_the_environment(self, run, tmp_path, environ):
        environ.setenv("DRUM_SUPERVISOR_RUN_DIR", str(tmp_path))
        assert run("status").err == f"drum-supervise: No supervisor runs in {tmp_path}.\n"

    def test_killed_supervisor_does_not_count(self, run):
        made = run_dir.make("", os.environ)
        made.write(made.pid_file, "1\n")
        assert "No running supervisor" in run("status").err

    def test_last_failure_is_still_shown(self, run, tmp_path):
        write_failure(FailureReport(Cause.INIT_FAILED, "bad weights", type="ValueError"), tmp_path / "failure.json")
        result = run("failure", "--run-dir", tmp_path)
        assert result.code == 0
        assert result.out.startswith("ValueError: bad weights\n")
        assert json.loads(run("failure", "--json", "--run-dir", tmp_path).out)["error"] == "ValueError: bad weights"


class TestSeveralSupervisors:
    @pytest.fixture
    def directories(self) -> Iterator[list[RunDir]]:
        made = [run_dir.make("", os.environ) for _ in range(2)]
        locks = [run_dir.lock(each) for each in made]
        made[0].write(made[0].address, "127.0.0.1:8080\n")
        yield made
        for fd in locks:
            os.close(fd)

    @pytest.mark.parametrize("command", CLIENTS)
    def test_are_listed_with_addresses(self, run, directories, command):
        result = run(command)
        first, second = directories
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("drum-supervise: Several supervisors run; choose one with --run-dir:\n")
        assert f"  {first.path}  127.0.0.1:8080\n" in result.err
        assert f"  {second.path}" in result.err

    @pytest.mark.parametrize("command", CLIENTS)
    def test_silent_supervisor_differs_from_none(self, run, directories, command):
        result = run(command, "--run-dir", directories[0].path)
        assert result.code == 1
        assert is_one_clear_line(result.err)
        assert f"No supervisor answers at {directories[0].socket}" in result.err


def test_relative_run_directory_is_found(run, tmp_path, environ):
    environ.chdir(tmp_path)
    Path("run").mkdir(mode=0o700)
    fd = run_dir.lock(RunDir(tmp_path / "run"))
    assert "No supervisor answers at" in run("status", "--run-dir", "run").err
    os.close(fd)
