"""Good models under each built-in server: correct predictions, a complete status, a clean stop."""

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from tests.stories.conftest import Start

DIABETES = Path(__file__).parents[2] / "examples" / "diabetes"
SERVERS = ("fastapi", "flask", "gunicorn")


def multipart(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    head = f'--frontier\r\nContent-Disposition: form-data; name="{name}"; filename="data.csv"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    return head.encode() + content + b"\r\n--frontier--\r\n", headers


def reading(gate: Path) -> str:
    """Return a model whose prediction reads the named pipe `gate` and returns what is written to it."""
    load = "def load_model(d): return 1\n"
    return load + f"def score_unstructured(model, data, **k): return open({str(gate)!r}).read()\n"


def expected(csv: bytes) -> list[float]:
    """Return the predictions of a freshly trained model."""
    data = load_diabetes(as_frame=True, scaled=False)
    rows = pd.read_csv(io.BytesIO(csv))
    return list(LinearRegression().fit(data.data, data.target).predict(rows))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("server", SERVERS)
def test_good_model_predicts_and_stops_cleanly(start: Start, server: str, workers: int) -> None:
    supervised = start("--code-dir", DIABETES, "--server-type", server, "--workers", workers)
    status = supervised.until_status(lambda s: s["phase"] == "serving" and not s["workers_coming"])
    csv = (DIABETES / "diabetes.csv").read_bytes()
    body, headers = multipart("X", csv)
    answers = [supervised.post("/invocations", csv), supervised.request("POST", "/predict/", body, headers)]
    for answer in answers:
        assert answer.status == 200, answer.body
        assert answer.json()["predictions"] == pytest.approx(expected(csv))
    assert (status["ready"], status["degraded"], status["server_type"]) == (True, False, server)
    assert (status["attempt"], status["failure"]) == (1, None)
    assert status["address"] == str(supervised.address)
    assert all(program["pid"] and program["memory_bytes"] > 0 for program in status["programs"])
    assert supervised.stop(signal.SIGTERM) == 0
    assert supervised.last_line == "drum-supervise: exit 0: stopped on request"
    assert supervised.left() == []


@pytest.mark.parametrize("server", SERVERS)
def test_every_worker_serves(start: Start, model: Callable[[str], Path], server: str) -> None:
    custom = (
        "import os\ndef load_model(d): return 1\ndef score_unstructured(model, data, **k): return str(os.getpid())\n"
    )
    supervised = start(
        "--code-dir", model(custom), "--target-type", "unstructured", "--server-type", server, "--workers", 2
    )
    supervised.until_status(lambda s: s["phase"] == "serving" and not s["workers_coming"])
    pids: set[bytes] = set()

    def two_have_answered() -> bool:
        pids.add(supervised.post("/invocations", b"x", "text/plain").body)
        return len(pids) == 2

    supervised.until(two_have_answered)
    assert supervised.stop() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_ping_answers_while_a_prediction_runs(
    start: Start, model: Callable[[str], Path], tmp_path: Path, server: str, fifo: Callable[[str], Path]
) -> None:
    gate = fifo("gate")
    supervised = start("--code-dir", model(reading(gate)), "--target-type", "unstructured", "--server-type", server)
    supervised.until_phase("serving")
    with supervised.connect() as busy:
        busy.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        with open(gate, "w") as opened:  # opens when the prediction reads it
            assert supervised.get("/ping").status == 200
            opened.write("done")
        answer = b"".join(iter(lambda: busy.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.")
    assert answer.endswith(b"done")
    assert supervised.stop() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_stop_lets_a_running_prediction_finish(
    start: Start, model: Callable[[str], Path], server: str, fifo: Callable[[str], Path]
) -> None:
    gate = fifo("gate")
    supervised = start("--code-dir", model(reading(gate)), "--target-type", "unstructured", "--server-type", server)
    supervised.until_phase("serving")
    with supervised.connect() as busy:
        busy.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
        with open(gate, "w") as opened:
            supervised.process.send_signal(signal.SIGTERM)
            supervised.until(lambda: "received SIGTERM" in supervised.err.read_text())
            opened.write("done")
        answer = b"".join(iter(lambda: busy.recv(4096), b""))
    assert answer.endswith(b"done")
    assert supervised.wait() == 0


def test_model_prints_reach_the_log(start: Start, model: Callable[[str], Path]) -> None:
    custom = (
        "def load_model(d): return print('weights are here') or 1\n"
        "def score_unstructured(model, data, **k): return ''\n"
    )
    supervised = start("--code-dir", model(custom), "--target-type", "unstructured")
    supervised.until_phase("serving")
    assert "weights are here\n" in supervised.out.read_text()
    assert supervised.stop() == 0


def test_killed_model_server_is_replaced(start: Start) -> None:
    supervised = start("--code-dir", DIABETES)
    pid = supervised.until_phase("serving")["programs"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    status = supervised.until_status(lambda s: s["phase"] == "serving" and s["restarts"]["crash"] == 1)
    assert status["programs"][0]["pid"] != pid
    assert supervised.get("/ping").status == 200
    assert supervised.stop() == 0


def test_bad_gunicorn_parameter_is_refused_at_start(start: Start) -> None:
    given = ("--code-dir", "examples/diabetes", "--server-type", "gunicorn", "--workers", "1")
    environ = {
        "MLOPS_RUNTIME_PARAM_DRUM_GUNICORN_MAX_REQUESTS": '{"type": "numeric", "payload": 20000}',
        "MAX_WORKERS": "x",
    }
    supervised = start(*given, **environ)
    assert supervised.wait() == 2
    assert "$MLOPS_RUNTIME_PARAM_DRUM_GUNICORN_MAX_REQUESTS: '20000' is not accepted" in supervised.last_line


def test_gunicorn_parameters_reach_its_workers(start: Start) -> None:
    given = ("--code-dir", "examples/diabetes", "--server-type", "gunicorn")
    supervised = start(*given, DRUM_GUNICORN_MAX_REQUESTS="2")
    supervised.until_phase("serving")

    def workers() -> set[int]:
        return {process["pid"] for process in supervised.get("/stats/").json()["drum_info"][1:]}

    first = workers()
    supervised.until(lambda: first and not first & workers())
    assert supervised.stop() == 0
