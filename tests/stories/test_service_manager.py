"""Notifications to a service manager, over a real socket as with systemd."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import TIMEOUT

GOOD = "import pandas as pd\ndef load_model(code_dir): return 1\ndef score(data, model): return pd.DataFrame([1.0])\n"
BAD = "def load_model(code_dir): raise ValueError('no weights')\n"


class Manager:
    """Receives notifications."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.words: list[str] = []
        self._waited_for = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(TIMEOUT)

    def until(self, met: Callable[[str], bool]) -> None:
        """Wait for a matching word, unless one has come since the last wait."""
        while not any(map(met, self.words[self._waited_for :])):
            self.words += self._socket.recv(4096).decode().splitlines()
        self._waited_for = len(self.words) - [*map(met, reversed(self.words))].index(True)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(short_path: Path) -> Iterator[Manager]:
    made = Manager(short_path / "notify")
    yield made
    made.close()


def test_notifies_ready_and_stopping(start: Start, model, manager):
    folder = model(GOOD)
    supervised = start("--code-dir", folder, "--target-type", "regression", NOTIFY_SOCKET=str(manager.path))
    manager.until(lambda word: word == "READY=1")
    assert "STATUS=starting" in manager.words
    manager.until(lambda word: word == "STATUS=serving: 1 of 1 workers ready")
    supervised.process.send_signal(signal.SIGTERM)
    manager.until(lambda word: word == "STOPPING=1")
    assert supervised.wait() == 0
    assert manager.words.count("READY=1") == 1


def test_error_server_is_ready_with_the_reason_as_status(start: Start, model, manager):
    start("--code-dir", model(BAD), "--target-type", "regression", NOTIFY_SOCKET=str(manager.path))
    manager.until(lambda word: word == "READY=1")
    assert "STATUS=failed: ValueError: no weights" in manager.words


def test_watchdog_is_notified_twice_a_period(start: Start, manager):
    start(
        *("--listener", "inherit", "--", "sleep", "1000"), NOTIFY_SOCKET=str(manager.path), WATCHDOG_USEC="100000"
    ).until_phase("starting")
    for _ in range(5):
        manager.until(lambda word: word == "WATCHDOG=1")


def test_watchdog_of_another_process_is_ignored(start: Start, manager):
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    supervised = start("--listener", "inherit", "--", "sleep", "1000", **environ)
    supervised.until_phase("starting")
    supervised.process.send_signal(signal.SIGTERM)
    manager.until(lambda word: word == "STOPPING=1")
    assert "WATCHDOG=1" not in manager.words


def test_missing_manager_changes_nothing(start: Start, model, manager):
    manager.path.unlink()
    folder = model(GOOD)
    supervised = start("--code-dir", folder, "--target-type", "regression", NOTIFY_SOCKET=str(manager.path))
    supervised.until_phase("serving")
    assert supervised.stop() == 0
