"""The port stays open across all swaps: no connection is refused or reset."""

import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.listener import Address
from tests.stories.conftest import Start
from tests.support import TIMEOUT

INTERVAL = 0.005
REPAIRABLE = """
from pathlib import Path
def load_model(code_dir):
    if not Path(code_dir, "weights").exists():
        raise RuntimeError("the weights are missing")
    return 1
def score_unstructured(model, data, **kwargs):
    return "fine"
"""


@dataclass(frozen=True)
class Exchange:
    """One request: when it began and ended, and the status of its answer or the error."""

    begun: float
    ended: float
    outcome: object


@dataclass
class Client:
    """Sends a request on a new connection every five milliseconds and keeps the outcomes."""

    address: Address
    requests: list[Exchange] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self) -> None:
        while not self._stop.wait(INTERVAL):
            thread = threading.Thread(target=self._send)
            thread.start()
            self._threads.append(thread)

    @property
    def outcomes(self) -> "Counter[object]":
        return Counter(each.outcome for each in self.requests)

    def begun_after(self, begin: float) -> list[object]:
        """Return the outcomes of the requests that began after `begin` and have ended."""
        return [each.outcome for each in self.requests if begin <= each.begun]

    def _send(self) -> None:
        begun = time.monotonic()
        outcome = self._outcome()
        self.requests.append(Exchange(begun, time.monotonic(), outcome))

    def _outcome(self) -> object:
        try:
            with socket.create_connection((self.address.host, self.address.port), TIMEOUT) as sock:
                sock.sendall(
                    b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
                )
                response = http.client.HTTPResponse(sock)
                response.begin()
                response.read()
                return response.status
        except Exception as error:  # noqa: BLE001 - kept as the outcome
            return repr(error)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def under_load(address: Address) -> Iterator[Client]:
    client = Client(address)
    thread = threading.Thread(target=client.run)
    thread.start()
    try:
        yield client
    finally:
        client._stop.set()
        thread.join()
        client.stop()


@pytest.mark.parametrize("server", ["fastapi", "flask", "gunicorn"])
def test_no_connection_is_lost_across_failure_and_repair(
    start: Start, model: Callable[[str], Path], server: str
) -> None:
    folder = model(REPAIRABLE)
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server)
    with under_load(supervised.address) as client:
        supervised.until_phase("failed")
        supervised.until(lambda: client.outcomes[513] >= 20)
        (folder / "weights").touch()
        assert supervised.run("restart").returncode == 0
        supervised.until(lambda: client.outcomes[200] >= 50)
        assert supervised.run("restart").returncode == 0
        before = client.outcomes[200]
        supervised.until(lambda: client.outcomes[200] >= before + 50)
    assert set(client.outcomes) == {200, 513}, client.outcomes
    assert supervised.stop() == 0


GATED = """
def load_model(code_dir):
    with open(code_dir + "/gate") as gate:
        if gate.read() != "loads":
            raise RuntimeError("no weights")
    return 1
def score_unstructured(model, data, **kwargs):
    return "fine"
"""


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_with_a_stand_in_every_answer_has_the_current_status(
    start: Start, model: Callable[[str], Path], server: str
) -> None:
    folder = model(GATED)
    os.mkfifo(folder / "gate")
    rules = ("--while-starting", "respond", "--max-retries", 1, "--retry-interval", 0.2)
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server, *rules)
    with under_load(supervised.address) as client:

        def all_are_answered_with(status: int) -> None:
            begin = time.monotonic()
            supervised.until(lambda: len(client.begun_after(begin)) >= 20)
            assert set(client.begun_after(begin)) == {status}

        supervised.until_status(lambda s: s["stage"] == "load_model")
        all_are_answered_with(503)
        (folder / "gate").write_text("fails")
        supervised.until_phase("failed", "retrying")
        all_are_answered_with(513)
        supervised.until_status(lambda s: s["phase"] == "retrying" and is_gone("stand-in", s))
        all_are_answered_with(513)
        (folder / "gate").write_text("loads")
        supervised.until_status(lambda s: s["phase"] == "serving" and is_gone("error-server", s))
        all_are_answered_with(200)
        pid, killed = supervised.pid(), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        supervised.until_phase("starting")
        gone = time.monotonic()
        all_are_answered_with(503)
        (folder / "gate").write_text("loads")
        supervised.until_status(lambda s: s["phase"] == "serving" and is_gone("stand-in", s))
        all_are_answered_with(200)
    lost = [each for each in client.requests if each.outcome not in (200, 503, 513)]
    assert all(each.begun <= gone and killed <= each.ended for each in lost), lost  # by the killed process
    assert supervised.stop() == 0


def is_gone(program: str, status: dict[str, Any]) -> bool:
    return all(each["state"] == "stopped" for each in status["programs"] if each["name"] == program)


def test_killed_model_server_loses_only_its_own_requests(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(REPAIRABLE)
    (folder / "weights").touch()
    supervised = start("--code-dir", folder, "--target-type", "unstructured")
    supervised.until_phase("serving")
    os.kill(supervised.pid(), signal.SIGKILL)
    answer = supervised.post("/invocations", b"x", "text/plain")  # waits in the backlog for the next server
    assert (answer.status, answer.body) == (200, b"fine")
    assert supervised.stop() == 0


def test_stand_in_replaces_a_killed_error_server(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--target-type", "unstructured", "--while-starting", "respond")
    supervised = start("--code-dir", model(REPAIRABLE), *arguments)
    supervised.until_status(lambda s: s["phase"] == "failed" and is_gone("stand-in", s))
    pid = supervised.pid("error-server")
    with under_load(supervised.address) as client:
        supervised.until(lambda: client.outcomes[513] >= 20)
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        supervised.until_status(lambda s: not is_gone("stand-in", s))
        gone = time.monotonic()
        supervised.until_status(lambda s: is_gone("stand-in", s) and not is_gone("error-server", s))
        before = len(client.requests)
        supervised.until(lambda: len(client.requests) >= before + 20)
    lost = [each for each in client.requests if each.outcome != 513]
    assert all(each.begun <= gone and killed <= each.ended for each in lost), lost  # by the killed process
    assert supervised.stop() == 0


def test_killed_stand_in_comes_back(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(GATED)
    os.mkfifo(folder / "gate")
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--while-starting", "respond")
    assert supervised.get("/x").status == 503
    os.kill(supervised.pid("stand-in"), signal.SIGKILL)
    assert supervised.get("/x").status == 503
    (folder / "gate").write_text("loads")
    supervised.until_status(lambda s: s["phase"] == "serving" and is_gone("stand-in", s))
    assert supervised.get("/ping").status == 200
    assert supervised.stop() == 0


FITS_ONCE = """
import fcntl, os
def load_model(code_dir):
    lock = os.open(code_dir, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise MemoryError("there is no room for another model")
    return lock
def score_unstructured(model, data, **kwargs):
    return "fine"
"""


def test_failed_worker_beside_a_good_one_changes_no_answer(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--target-type", "unstructured", "--workers", 2, "--max-restarts", 2)
    supervised = start("--code-dir", model(FITS_ONCE), *arguments)
    with under_load(supervised.address) as client:
        status = supervised.until_status(lambda s: s["restarts"]["crash"] == 1 and s["workers_coming"])
        assert (status["phase"], status["degraded"], status["ready"]) == ("serving", True, True)
        status = supervised.until_status(lambda s: s["restarts"]["crash"] == 2 and not s["workers_coming"])
        before = len(client.requests)
        supervised.until(lambda: len(client.requests) >= before + 50)
    assert set(client.outcomes) == {200}
    assert (status["phase"], status["degraded"]) == ("serving", True)
    assert status["failure"]["error"] == "MemoryError: there is no room for another model"
    assert supervised.stop() == 0
