"""DRUM as a command: its arguments and environment, and which of its options are settings."""

import json
import sys
from pathlib import Path

import pytest

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.command import Command, choose_command, read_drum_options
from drum_supervisor.supervise.programs.plan import plan_programs
from drum_supervisor.supervise.programs.program import Programs

SERVER_TYPE = "MLOPS_RUNTIME_PARAM_DRUM_SERVER_TYPE"
DRUM_SERVER = ["drum", "server", "--code-dir", "/model"]


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """Return the path of a program `drum`, in a folder of its own."""
    program = tmp_path / "drum"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return str(program)


def command(argv: list[str], environ: dict[str, str] | None = None, **flags: str) -> Command:
    environ = environ or {}
    return choose_command(resolve(choose({**read_drum_options(argv), **flags}, environ)), argv, environ)


def run(argv: list[str], environ: dict[str, str] | None = None, **flags: str) -> Programs:
    settings = resolve(choose({**read_drum_options(argv), **flags}, environ or {}))
    chosen = choose_command(settings, argv, environ or {})
    return plan_programs(settings, chosen, Address("127.0.0.1", 8080), RunDir(Path("/run/drum")))


class TestDrumCommand:
    def test_runs_on_our_address(self):
        for given in (["--address", "0.0.0.0:1"], ["--address=0.0.0.0:1"], []):
            (worker,) = run(["/opt/drum", "server", *given, "--code-dir", "/model"]).workers
            assert worker.argv == ("/opt/drum", "server", "--code-dir", "/model", "--address", "127.0.0.1:8080")

    def test_keeps_all_other_options(self):
        options = ["--target-type", "binary", "--class-labels", "a", "b", "--show-perf", "--verbose", "--docker={fdx}"]
        (worker,) = run(["/opt/drum", "server", *options]).workers
        assert worker.argv == ("/opt/drum", "server", *options, "--address", "127.0.0.1:8080")

    def test_has_no_error_server_of_its_own(self):
        (worker,) = run(["/opt/drum", "server", "--with-error-server", "-cd", "m"], {"WITH_ERROR_SERVER": "1"}).workers
        assert "--with-error-server" not in worker.argv
        assert dict(worker.environment)["WITH_ERROR_SERVER"] == ""

    def test_is_found_next_to_our_interpreter(self, installed, monkeypatch):
        monkeypatch.setattr(sys, "executable", str(Path(installed).parent / "python"))
        assert command(DRUM_SERVER, {"PATH": "/nowhere"}).argv[0] == installed

    def test_is_kept_if_it_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert command(DRUM_SERVER, {"PATH": "/nowhere"}).argv[0] == "drum"

    @pytest.mark.parametrize("argv", [["drum"], ["drum", "score"], ["uvicorn", "server"], ["sh", "-c", "drum server"]])
    def test_other_commands_are_not_changed(self, argv):
        assert command(argv) == Command(tuple(argv))
        assert read_drum_options([*argv, "--address", "h:1"]) == {}

    def test_any_command_disables_the_error_server_of_drum(self):
        assert command(["./start.sh"], {"WITH_ERROR_SERVER": "true"}).environment == (("WITH_ERROR_SERVER", ""),)


class TestDrumOptions:
    @pytest.mark.parametrize(
        ("options", "settings"),
        [
            (["--address", "h:1"], {"address": "h:1"}),
            (["--address=h:1", "--with-error-server"], {"address": "h:1", "with_error_server": "true"}),
            (["--address", "localhost"], {"address": "localhost:5000"}),
            (["--address"], {}),
            (["--target-type", "binary"], {}),
        ],
    )
    def test_are_read_as_settings(self, options, settings):
        assert read_drum_options(["drum", "server", *options]) == settings


class TestListener:
    @pytest.mark.parametrize(
        ("server_type", "shared"),
        [
            ("", True),
            ("gunicorn", True),
            ("flask", True),
            ("werkzeug", False),
            (json.dumps({"type": "string", "payload": "werkzeug"}), False),
        ],
    )
    def test_is_inherited_by_gunicorn_which_is_the_default(self, server_type, shared):
        chosen = run(["/opt/drum", "server"], {SERVER_TYPE: server_type})
        assert chosen.shared is shared
        assert chosen.workers[0].announced

    def test_can_be_bound_by_drum(self):
        assert not run(["/opt/drum", "server"], listener="bind").shared


class TestServerTypeDrum:
    def test_runs_the_installed_one_with_our_settings(self, installed):
        environ = {"PATH": str(Path(installed).parent)}
        flags = {"code_dir": "/m", "target_type": "multiclass", "class_labels": "a b", "server_type": "drum"}
        chosen = run([], environ, **flags)
        (worker,) = chosen.workers
        labels = ("--class-labels", "a", "b")
        expected = ("--code-dir", "/m", "--target-type", "multiclass", *labels, "--address", "127.0.0.1:8080")
        assert worker.argv == (installed, "server", *expected)
        assert (chosen.server_type, chosen.built_in) == ("drum", False)

    def test_starts_its_workers_by_itself(self, installed):
        environ = {"PATH": str(Path(installed).parent), "MAX_WORKERS": "3"}
        (worker,) = run([], environ, code_dir="/m", server_type="drum").workers
        parameter = dict(worker.environment)["MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS"]
        assert json.loads(parameter) == {"type": "numeric", "payload": 3}

    def test_gets_the_url_prefix(self, installed):
        environ = {"PATH": str(Path(installed).parent)}
        (worker,) = run([], environ, code_dir="/m", server_type="drum", url_prefix="v1").workers
        assert dict(worker.environment)["URL_PREFIX"] == "/v1"

    def test_must_be_installed(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(UsageError) as caught:
            command([], {"PATH": "/nowhere"}, code_dir="/m", server_type="drum")
        assert str(caught.value) == (
            "--server-type drum: no command 'drum' in PATH or beside /nowhere/python. Install it, perhaps in an "
            "environment of its own (pip install datarobot-drum), and add that to PATH."
        )

    def test_needs_a_model_folder(self):
        with pytest.raises(UsageError) as caught:
            command([], server_type="drum")
        assert str(caught.value) == "--server-type drum: give the model folder: --code-dir DIR."
