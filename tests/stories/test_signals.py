"""A stop at any moment exits with 0, leaves nothing, and starts nothing."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.stories.test_ending import IGNORE, SETSID, program, serving
from tests.support import Supervised

# Imported in every Python process: opens the gate where $TEST_MODULE is imported, and goes on when the gate is closed.
WAITS_AT_IMPORT = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["TEST_MODULE"]:
            open(os.environ["TEST_GATE"]).read()
sys.meta_path.insert(0, Finder())
"""
FAILS = 'os.write(4, b\'{"kind": "init_failed", "type": "ValueError", "message": "no weights"}\\n\')\n'


@pytest.fixture
def stopped_at(start: Start, tmp_path: Path, fifo: Callable[[str], Path]) -> Callable[[str], tuple[Supervised, Path]]:
    """Start a supervisor that waits while it imports a module; return it with the gate that releases it."""

    def begin(module: str) -> tuple[Supervised, Path]:
        (tmp_path / "sitecustomize.py").write_text(WAITS_AT_IMPORT)
        gate = fifo("gate")
        path = f"{tmp_path}:{os.getcwd()}"
        return start(*program(), PYTHONPATH=path, TEST_GATE=str(gate), TEST_MODULE=module), gate

    return begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_while_importing_ends_at_once(stopped_at, number: signal.Signals) -> None:
    supervised, gate = stopped_at("supervisor")
    with open(gate, "w"):
        assert supervised.stop(number) == 0
    assert not supervised.run_dir.exists()
    assert supervised.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_while_preparing_ends_before_any_start(stopped_at, number: signal.Signals) -> None:
    supervised, gate = stopped_at("supervisor.web")  # supervisord imports it just before its loop
    with open(gate, "w"):
        supervised.process.send_signal(number)
        supervised.process.send_signal(number)
    assert supervised.wait() == 0
    assert supervised.last_line == "drum-supervise: exit 0: stopped on request"
    assert "model-server" not in supervised.err.read_text()
    assert list(supervised.run_dir.iterdir()) == []


def test_early_sighup_does_not_end_it(stopped_at) -> None:
    supervised, gate = stopped_at("supervisor.web")
    with open(gate, "w"):
        supervised.process.send_signal(signal.SIGHUP)
    supervised.until_phase("serving")
    assert supervised.stop() == 0


def test_while_a_model_loads(start: Start, model: Callable[[str], Path], fifo: Callable[[str], Path]) -> None:
    gate = fifo("weights")
    folder = model(f"def load_model(code_dir):\n    return open({str(gate)!r}).read()\nscore_unstructured = len\n")
    supervised = start("--code-dir", folder, "--target-type", "unstructured")
    with open(gate, "w"):  # opens when the model reads it
        assert supervised.stop() == 0
    assert supervised.left() == []


@pytest.mark.parametrize("listener", ["inherit", "bind"])
def test_while_the_error_server_takes_over(start: Start, reserved_port: int, listener: str) -> None:
    # the failed server ignores SIGTERM; where it may hold the port, the error server waits for its exit
    command = program(IGNORE, SETSID, FAILS)
    arguments = (*command[:2], "--listener", listener, "--stop-timeout", "0.5", *command[4:])
    supervised = start("--address", f"127.0.0.1:{reserved_port}", *arguments)
    supervised.until_phase("failed")
    assert supervised.stop() == 0
    assert supervised.left() == []


def test_while_a_worker_is_replaced(start: Start) -> None:
    supervised = serving(start, IGNORE, arguments=("--stop-timeout", "0.5"))
    supervised.client.restart()
    supervised.until_status(lambda status: status["programs"][0]["state"] == "stopping")
    assert supervised.stop() == 0
    assert supervised.left() == []
    assert supervised.err.read_text().count(") started\n") == 1


def test_second_signal_during_a_restart_kills_at_once(start: Start) -> None:
    supervised = serving(start, IGNORE, SETSID, arguments=("--stop-timeout", "1000"))
    supervised.client.restart()
    supervised.until_status(lambda status: status["programs"][0]["state"] == "stopping")
    supervised.process.terminate()
    supervised.until_phase("stopping")
    assert supervised.stop() == 0
    assert supervised.left() == []
