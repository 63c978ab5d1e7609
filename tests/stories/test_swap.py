"""The port is never let go: not one refused or reset connection, whatever is swapped behind it."""

import http.client
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drum_supervisor.contract.listener import Address
from tests.stories.conftest import Start
from tests.support import TIMEOUT

EVERY = 0.005
REPAIRABLE = """
from pathlib import Path
def load_model(code_dir):
    if not Path(code_dir, "weights").exists():
        raise RuntimeError("the weights are missing")
    return 1
def score_unstructured(model, data, **kwargs):
    return "fine"
"""


@dataclass
class Client:
    """Opens a new connection every five milliseconds and counts what comes back."""

    address: Address
    outcomes: "Counter[object]" = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self) -> None:
        while not self._stop.wait(EVERY):
            thread = threading.Thread(target=self._ask)
            thread.start()
            self._threads.append(thread)

    def _ask(self) -> None:
        try:
            with socket.create_connection((self.address.host, self.address.port), TIMEOUT) as sock:
                sock.sendall(
                    b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
                )
                response = http.client.HTTPResponse(sock)
                response.begin()
                response.read()
                self.outcomes[response.status] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            self.outcomes[repr(error)] += 1

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def asking(address: Address) -> Iterator[Client]:
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
def test_no_connection_is_lost_from_start_over_failure_and_repair_to_restart(
    start: Start, model: Callable[[str], Path], server: str
) -> None:
    folder = model(REPAIRABLE)
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--server-type", server)
    with asking(supervised.address) as client:
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


def test_a_killed_model_server_costs_only_the_requests_it_had(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(REPAIRABLE)
    (folder / "weights").touch()
    supervised = start("--code-dir", folder, "--target-type", "unstructured")
    supervised.until_phase("serving")
    os.kill(supervised.pid(), signal.SIGKILL)
    answer = supervised.post("/invocations", b"x", "text/plain")  # waits in the backlog for the next one
    assert (answer.status, answer.body) == (200, b"fine")
    assert supervised.stop() == 0
