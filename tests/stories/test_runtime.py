"""A third-party program with a `DrumRuntime`, under `drum-supervise start`."""

import json
import os
import signal
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import Answer, Supervised

PROGRAM = """
    import socket, sys
    from types import SimpleNamespace
    from drum_supervisor.runtime import CMRunner, DrumRuntime
    with DrumRuntime() as runtime:
        runtime.options = SimpleNamespace(
            code_dir={folder!r}, target_type="unstructured", with_error_server=True,
            server_type=sys.argv[1], address=sys.argv[2],
        )
        runtime.cm_runner = CMRunner(runtime)
        runtime.cm_runner.run()
"""
CUSTOM = """
    import pathlib
    def load_model(code_dir):
        return (pathlib.Path(code_dir) / "weights").read_text()
    def score_unstructured(model, data, **kwargs):
        return model + data
"""


@pytest.fixture
def program(tmp_path: Path, model) -> Path:
    folder = model(textwrap.dedent(CUSTOM))
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(PROGRAM).format(folder=str(folder)))
    return file


@pytest.mark.parametrize("server_type", ["fastapi", "flask"])
@pytest.mark.parametrize("listener", ["inherit", "bind"])
def test_failure_and_repair_swap_the_server(start: Start, program, reserved_port, server_type, listener):
    address = f"127.0.0.1:{reserved_port}" if listener == "bind" else "127.0.0.1:0"
    command = ["--address", address, "--listener", listener, "--ready", "report"]
    supervised = start(*command, "--", sys.executable, program, server_type, address)
    status = supervised.until_phase("failed")
    assert status["failure"]["type"] == "FileNotFoundError"
    assert status["failure"]["stage"] == "load_model"
    answer = supervised.until(lambda: _answer(supervised))
    assert answer.status == 513
    assert "FileNotFoundError" in answer.json()["message"]
    assert supervised.get("/ping").status == 200

    (program.parent / "model" / "weights").write_text("heavy ")
    assert supervised.run("restart").returncode == 0
    assert supervised.post("/invocations", b"x", "text/plain").body == b"heavy x"
    assert supervised.stop() == 0


def _answer(supervised: Supervised) -> Answer | None:
    """Return the answer, None while no server has bound the port."""
    with suppress(ConnectionError):
        return supervised.post("/invocations", b"x")
    return None


def test_without_error_server_it_exits_with_the_cause(start: Start, program):
    supervised = start("--no-error-server", "--listener", "inherit", "--", sys.executable, program, "flask", "x:1")
    assert supervised.wait() == 3
    assert "FileNotFoundError" in supervised.last_line


def test_worker_is_replaced_after_a_crash(start: Start, program):
    (program.parent / "model" / "weights").write_text("heavy ")
    command = ["--listener", "inherit", "--ready", "report", "--", sys.executable, program, "fastapi", "x:1"]
    supervised = start(*command)
    supervised.until_phase("serving")
    before = supervised.pid()
    os.kill(before, signal.SIGKILL)
    assert supervised.post("/invocations", b"x", "text/plain").body == b"heavy x"
    assert supervised.pid() != before
    assert json.loads(supervised.run("status", "--json").stdout)["restarts"]["crash"] == 1
    assert supervised.stop() == 0
