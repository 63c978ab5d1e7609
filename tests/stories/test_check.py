"""`check` loads a model once, prints time and memory or the failure, and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from tests.stories.test_commands import TINY
from tests.stories.test_service_manager import BAD, GOOD
from tests.support import TIMEOUT

ARGV = [sys.executable, "-m", "drum_supervisor", "check"]


@pytest.fixture
def environ(short_path: Path) -> dict[str, str]:
    """An environment that keeps all temporary files in one folder."""
    return {**os.environ, "TMPDIR": str(short_path)}


@pytest.fixture
def check(environ: dict[str, str], short_path: Path) -> Iterator[Callable[..., "subprocess.CompletedProcess[str]"]]:
    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        argv = [*ARGV, *map(str, arguments)]
        return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    yield run
    assert list(short_path.iterdir()) == []


def options(folder: Path) -> Sequence[object]:
    return "--code-dir", folder, "--target-type", "regression"


def test_good_model_reports_time_memory_and_ping(check, model):
    done = check(*options(model(GOOD)), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ready"]
    assert found["failure"] is None
    assert found["ping"] == {"path": "/ping", "status": 200, "body": '{"message": "OK"}'}
    assert 0 < found["seconds"] < TIMEOUT
    assert found["peak_memory_bytes"] > 20 * 1024 * 1024


def test_model_output_goes_to_stderr_and_the_result_to_stdout(check, model):
    done = check(*options(model("print('hello from the model')\n" + GOOD)))
    assert done.stdout.splitlines()[0].startswith("Ready after ")
    assert done.stdout.splitlines()[1:] == ['GET /ping: 200 {"message": "OK"}']
    assert "hello from the model" in done.stderr


def test_broken_model_exits_with_the_code_of_its_cause(check, model):
    done = check(*options(model(BAD)))
    assert done.returncode == 3
    assert done.stdout.startswith("ValueError: no weights\n")
    found = json.loads(check(*options(model(BAD)), "--json").stdout)
    assert (found["ready"], found["exit_code"], found["error"]) == (False, 3, "ValueError: no weights")
    assert found["failure"]["error"] == found["error"]


def test_startup_timeout_exits_with_4(check, model):
    folder = model("import time\ndef load_model(code_dir): time.sleep(1000)\n")
    done = check(*options(folder), "--startup-timeout", "5")
    assert done.returncode == 4
    assert "not ready within 5 s, still in load_model" in done.stdout


def test_command_that_binds_the_port_itself(check, reserved_port):
    address = f"127.0.0.1:{reserved_port}"
    done = check("--address", address, "--", sys.executable, "-c", f"{TINY}server.serve_forever()", "{host}", "{port}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "GET /ping: 200 hello"


def test_a_unix_socket(check, model, tmp_path):
    done = check(*options(model(GOOD)), "--address", f"unix:{tmp_path}/check.sock")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, 'GET /ping: 200 {"message": "OK"}'), done.stderr


def test_ready_server_that_does_not_answer_exits_with_1(check):
    program = """import os, socket; l = socket.socket(fileno=3); l.setblocking(True)
os.write(4, b'{"kind": "ready"}\\n')
while True: l.accept()[0].close()"""
    done = check("--listener", "inherit", "--ready", "report", "--", sys.executable, "-c", program)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "It does not answer."


def test_usage_error_is_one_sentence(check):
    done = check("--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert found["failure"] is None
    assert found["error"].startswith("Nothing to run: ")
    assert done.stderr == f"drum-supervise: {found['error']}\n"


def test_wrong_setting_is_an_error_in_json_too(check):
    done = check("--json", "--workers", "many", "--", "true")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ready"], found["exit_code"]) == (2, False, 2)
    assert found["error"].startswith("--workers: 'many' is not accepted")
    assert done.stderr == f"drum-supervise: {found['error']}\n"


def test_sigterm_while_loading_leaves_nothing(environ, model, fifo, short_path):
    gate = fifo("gate")
    folder = model(f"def load_model(code_dir): open({str(gate)!r}).read()\n")
    process = subprocess.Popen([*ARGV, *map(str, options(folder))], env=environ, stderr=subprocess.DEVNULL)
    with open(gate, "w"):  # opens when the model loads
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 130
    assert len(below) >= 2
    assert not [each for each in below if each.is_running()]
    assert list(short_path.iterdir()) == []
