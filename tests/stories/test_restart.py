"""Replacing workers under load: no request is refused, reset or answered wrongly; a failed successor never serves."""

import http.client
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.stories.test_commands import SERVE, TINY
from tests.support import TIMEOUT, Supervised
from tests.unit.control_groups import MIB, limited_group

# Predicts its own pid; files in its folder control the next load.
MODEL = """
import os, pathlib
import pandas as pd
HERE = pathlib.Path(__file__).parent
def load_model(code_dir):
    if (HERE / "broken").exists(): raise ValueError("bad weights")
    if (HERE / "hangs").exists(): open(HERE / "hangs").read()
    return b"x" * int((HERE / "size").read_text()) if (HERE / "size").exists() else "model"
def score(data, model):
    return pd.DataFrame({"Predictions": [float(os.getpid())] * len(data)})
"""
SERVERS = ["fastapi", "flask", "gunicorn"]


@pytest.fixture
def folder(model: Callable[[str], Path]) -> Path:
    return model(MODEL)


@pytest.fixture
def serve(start: Start, folder: Path) -> Callable[..., Supervised]:
    def begin(*options: object, before: Callable[[], None] | None = None) -> Supervised:
        supervised = start("--code-dir", folder, "--target-type", "regression", *options, before=before)
        supervised.until_status(lambda status: status["workers_ready"] == status["workers"])
        return supervised

    return begin


def predicting(supervised: Supervised) -> int:
    """Return the pid of the predicting process."""
    return int(supervised.post("/predict/", b"a\n1\n").json()["predictions"][0])


@contextmanager
def clients(supervised: Supervised) -> Iterator[Counter[object]]:
    """Predict continuously, on kept and on new connections; yield a count of each outcome."""
    seen: Counter[object] = Counter()
    done = threading.Event()

    def ask(is_kept: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not done.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("test", timeout=TIMEOUT)
                connection.sock = supervised.connect()
            try:
                connection.request("POST", "/predict/", b"a\n1\n", {"Content-Type": "text/csv"})
                answer = connection.getresponse()
                seen[answer.status] += 1
                answer.read()
                closes = not is_kept or answer.will_close
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1
                closes = True
            if closes:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("server", SERVERS)
def test_no_request_is_lost_with_or_without_overlap(serve, server, workers):
    supervised = serve("--server-type", server, "--workers", workers)
    before = {program["pid"] for program in supervised.status()["programs"]}
    with clients(supervised) as seen:
        for options in (["--overlap"], [], ["--overlap", "--worker", "1"]):
            done = supervised.run("restart", *options)
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout.startswith("Serving again after "), done
    assert set(seen) == {200}
    status = supervised.status()
    assert (status["restarts"]["request"], status["replacing"], status["degraded"]) == (3, 0, False)
    assert not before & {program["pid"] for program in status["programs"]}
    assert not any(psutil.pid_exists(pid) for pid in before)


def test_failed_successor_leaves_the_old_worker_serving(serve, folder):
    supervised = serve()
    pid = predicting(supervised)
    (folder / "broken").touch()
    done = supervised.run("restart", "--overlap")
    assert done.returncode == 3
    assert "ValueError: bad weights" in done.stderr
    assert "Still serving: 1 of 1 workers ready." in done.stderr
    status = supervised.status()
    assert (status["phase"], status["failure"]) == ("serving", None)
    assert status["restart_failure"]["error"] == "ValueError: bad weights"
    assert predicting(supervised) == pid
    (folder / "broken").unlink()
    assert supervised.run("restart", "--overlap").returncode == 0
    assert supervised.status()["restart_failure"] is None


def test_restart_of_a_repaired_model_serves_again(serve, folder):
    supervised = serve()
    (folder / "broken").touch()
    assert supervised.run("restart").returncode == 3
    assert supervised.status()["restart_failure"] is None  # the failure of the service covers it
    (folder / "broken").unlink()
    done = supervised.run("restart")
    assert (done.returncode, done.stdout.split(" after ")[0]) == (0, "Serving again")


def test_broken_model_aborts_a_rolling_restart(serve, folder):
    supervised = serve("--workers", 3, "--max-restarts", 0)
    (folder / "broken").touch()
    assert supervised.run("restart").returncode == 3
    status = supervised.status()
    assert (status["phase"], status["workers_ready"], status["replacing"]) == ("serving", 2, 0)


def test_old_worker_serves_while_its_successor_starts(serve, folder):
    supervised = serve()
    pid = predicting(supervised)
    os.mkfifo(folder / "hangs")
    assert supervised.run("restart", "--overlap", "--no-wait").returncode == 0
    with open(folder / "hangs", "w"):  # opens when the successor loads
        programs = {each["name"]: each["state"] for each in supervised.status()["programs"]}
        assert programs == {"model-server": "ready", "model-server-next": "starting"}
        assert predicting(supervised) == pid
        (folder / "hangs").unlink()
    status = supervised.until_status(lambda status: not status["replacing"])
    assert [(each["name"], each["state"]) for each in status["programs"]] == [("model-server", "ready")]
    assert predicting(supervised) == status["programs"][0]["pid"] != pid


def test_successor_takes_over_from_a_killed_worker(serve, folder):
    supervised = serve()
    pid = predicting(supervised)
    supervised.run("restart", "--overlap", "--no-wait")
    supervised.until_status(lambda status: len(status["programs"]) == 2 or predicting(supervised) != pid)
    psutil.Process(pid).kill()
    supervised.until_status(lambda status: status["phase"] == "serving" and not status["replacing"])
    assert predicting(supervised) != pid


def test_overlap_without_enough_memory_is_refused(serve, folder):
    (folder / "size").write_text(str(200 * MIB))
    with limited_group(450) as join:
        supervised = serve(before=join)
        done = supervised.run("restart", "--overlap")
        assert done.returncode == 1
        assert "two copies do not fit: a worker uses " in done.stderr
        assert "of the memory limit of 450.0 MiB" in done.stderr
        assert supervised.run("restart").returncode == 0
        (folder / "size").write_text("0")
        assert supervised.run("restart", "--overlap", "--force").returncode == 0
        assert supervised.stop() == 0


def test_command_without_overlap_support_is_refused(start, reserved_port):
    command = [sys.executable, "-c", TINY + SERVE, "{host}", "{port}"]
    supervised = start("--address", f"127.0.0.1:{reserved_port}", "--", *command)
    supervised.until_phase("serving")
    done = supervised.run("restart", "--overlap")
    assert done.returncode == 1
    assert "--overlap needs workers that inherit the listener and report when they are ready" in done.stderr


@pytest.mark.parametrize("server", ["fastapi", "flask"])
def test_max_requests_replaces_a_worker_without_loss(serve, server):
    supervised = serve("--server-type", server, "--max-requests", 50)
    with clients(supervised) as seen:
        supervised.until_status(lambda status: status["restarts"]["requests"] >= 2)
    assert set(seen) == {200}
    assert supervised.status()["restarts"]["crash"] == 0


def test_max_requests_is_left_to_the_gunicorn_master(serve):
    supervised = serve("--server-type", "gunicorn", "--max-requests", 50)
    first = predicting(supervised)
    with clients(supervised) as seen:
        supervised.until(lambda: predicting(supervised) != first)
    assert set(seen) == {200}
    assert supervised.status()["restarts"]["requests"] == 0


def test_memory_limit_replaces_a_worker_without_loss(serve, folder):
    (folder / "size").write_text(str(300 * MIB))
    supervised = serve("--max-worker-memory", "200M")
    (folder / "size").write_text("0")
    with clients(supervised) as seen:
        supervised.until_status(lambda status: status["restarts"]["memory"] == 1 and not status["replacing"])
    assert set(seen) == {200}
    assert "uses 3" in supervised.err.read_text()
    assert "more than 200.0 MiB (--max-worker-memory); recycling it" in supervised.err.read_text()
