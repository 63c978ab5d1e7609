"""The contract of SageMaker hosting, tested on a running container as SageMaker uses it."""

import os
import threading
import time
from pathlib import Path

import pytest

from tests.container.containers import Container
from tests.support import Answer, until

pytestmark = pytest.mark.container

PING_SECONDS = 2.0  # a ping that takes longer has failed
KILL_SECONDS = 30.0  # between TERM and KILL

WAITS_TO_LOAD = """
import os
def load_model(code_dir):
    open(os.path.join(code_dir, "gate")).read()
    return "model"
def score_unstructured(model, data, **kwargs):
    return data
"""
WAITS_TO_ANSWER = """
import os
def load_model(code_dir):
    return code_dir
def score_unstructured(model, data, **kwargs):
    with open(os.path.join(model, "begun"), "w"):
        pass
    open(os.path.join(model, "gate")).read()
    return data
"""
DOUBLES = """
import pandas as pd
def load_model(code_dir):
    return 2
def score(data, model, **kwargs):
    return pd.DataFrame({"Predictions": data["x"] * model})
"""
FAILS = """
def load_model(code_dir):
    raise OSError("no weights")
def score_unstructured(model, data, **kwargs):
    return data
"""


def with_gate(folder: Path) -> Path:
    """Put a named pipe into a model folder; the model waits until the test opens it."""
    os.mkfifo(folder / "gate")
    (folder / "gate").chmod(0o666)
    return folder


def writable(folder: Path) -> Path:
    """Make a model folder writable for the container's user, so that the model can mark its progress."""
    folder.chmod(0o777)
    return with_gate(folder)


def serve(run, folder: Path, **given) -> Container:
    return run("serve", flags=(f"--volume={folder}:/opt/ml/model",), **given)


def ping(container: Container) -> int:
    return container.get("/ping", timeout=PING_SECONDS).status


def first_ping(container: Container) -> int:
    """Return the status of the first answer, retrying while the port is closed; a late answer raises."""
    answers: list[int] = []

    def has_answered() -> bool:
        try:
            answers.append(ping(container))
        except ConnectionRefusedError:
            assert container.state["Running"], container.output()
        return bool(answers)

    until(has_answered, tail=container.output)
    return answers[0]


class InFlight(threading.Thread):
    """A request that waits for its answer."""

    def __init__(self, container: Container, body: bytes) -> None:
        super().__init__()
        self._container, self._body = container, body
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._container.post("/invocations", self._body)
        except OSError:
            self.answer = None


class TestPing:
    def test_is_answered_in_time_while_the_model_loads(self, run, model):
        folder = with_gate(model(WAITS_TO_LOAD))
        container = serve(run, folder)
        assert first_ping(container) == 503
        assert ping(container) == 503
        assert container.post("/invocations", b"early").status == 503
        with open(folder / "gate", "w"):
            pass
        until(lambda: ping(container) == 200, tail=container.output)
        assert container.post("/invocations", b"hello").body == b"hello"

    @pytest.mark.parametrize(("environ", "status"), [({}, 200), ({"DRUM_SUPERVISOR_FAILED_PING": "503"}, 503)])
    def test_of_a_failed_model_has_the_chosen_status(self, run, model, environ, status):
        container = serve(run, model(FAILS), **environ)
        container.until_phase("failed")
        assert ping(container) == status
        answer = container.post("/invocations", b"hello")
        assert (answer.status, answer.json()) == (513, {"message": "ERROR: OSError: no weights"})


class TestInvocations:
    def test_of_a_structured_model_on_the_port_sagemaker_chose(self, run, model):
        container = serve(run, model(DOUBLES, "regression"), port=9123, SAGEMAKER_BIND_TO_PORT="9123")
        container.until_phase("serving")
        answer = container.post("/invocations", b"x\n1\n2.5\n", "text/csv")
        assert (answer.status, answer.json()["predictions"]) == (200, [2, 5])

    def test_workers_and_timeout_come_from_sagemaker_variables(self, run, model):
        folder = writable(model(WAITS_TO_ANSWER))
        container = serve(run, folder, SAGEMAKER_MODEL_SERVER_WORKERS="2", SAGEMAKER_MODEL_SERVER_TIMEOUT="0.2")
        assert container.until_phase("serving")["workers"] == 2
        assert container.post("/invocations", b"hello").status == 504


class TestStop:
    def test_answers_requests_in_flight(self, run, model):
        folder = writable(model(WAITS_TO_ANSWER))
        container = serve(run, folder)
        container.until_phase("serving")
        request = InFlight(container, b"last words")
        until((folder / "begun").exists, tail=container.output)
        container.signal("TERM")
        until(lambda: "received SIGTERM" in container.output())
        with open(folder / "gate", "w"):
            pass
        assert container.wait() == 0
        request.join()
        assert request.answer is not None
        assert request.answer.body == b"last words"

    def test_does_not_wait_for_endless_requests(self, run, model):
        # less than the default, to save time: the default leaves 5 of SageMaker's 30 seconds
        folder = writable(model(WAITS_TO_ANSWER))
        container = serve(run, folder, DRUM_SUPERVISOR_STOP_TIMEOUT="2")
        container.until_phase("serving")
        request = InFlight(container, b"hello")
        until((folder / "begun").exists, tail=container.output)
        container.signal("TERM")
        sent = time.monotonic()
        assert container.wait() == 0
        assert time.monotonic() - sent < KILL_SECONDS - 25
        request.join()
