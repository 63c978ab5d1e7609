"""Liveness probes: a server that stops answering is reported truthfully and replaced within the limits."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import Supervised

# Answers /alive as the file `answers` says, entry by entry: a status, or a way to stall. Each probe adds a byte to the
# file `probes`.
SERVER = """
import http.server, os, socket, sys, threading
from pathlib import Path
class Handler(http.server.BaseHTTPRequestHandler):
    probes = 0
    def do_GET(self):
        self.send_response(self.alive() if self.path == "/alive" else 200)
        self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
    def alive(self):
        answers = Path("answers").read_text().split()
        answer = answers[Handler.probes % len(answers)]
        Handler.probes += 1
        with open("probes", "a") as probes:
            probes.write("x")
        if answer == "hang":
            threading.Event().wait()
        if answer == "later":
            open("later").read()
        return 200 if answer == "later" else int(answer)
server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
server.daemon_threads = True
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""

# Like Sanic: the main process keeps the port open even when the worker that accepts has exited.
IGNORES_WORKER_EXIT = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
server = http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
if os.fork() == 0:
    server.serve_forever()
while True:
    signal.pause()
"""

QUICK = ("--alive-path", "/alive", "--alive-interval", 0.1, "--alive-timeout", 1)
UNSTRUCTURED = "def load_model(code_dir): return 1\ndef score_unstructured(model, data, **kwargs): return 'fine'\n"


@pytest.fixture
def serve(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervised]:
    """Start SERVER with its answers to liveness probes."""
    monkeypatch.chdir(tmp_path)

    def begin(answers: str, *options: object) -> Supervised:
        Path("answers").write_text(answers)
        return start(*QUICK, *options, "--listener", "inherit", "--", sys.executable, "-c", SERVER)

    return begin


def probes_received() -> int:
    return Path("probes").stat().st_size if Path("probes").exists() else 0


def until_replaced(supervised: Supervised, crashes: int = 1) -> dict[str, object]:
    return supervised.until_status(
        lambda status: status["phase"] == "serving" and status["restarts"]["crash"] == crashes
    )


def warnings(supervised: Supervised) -> list[str]:
    return [line for line in supervised.err.read_text().splitlines() if " WARNING " in line]


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_frozen_server_is_replaced_and_no_request_is_lost(
    start: Start, model: Callable[[str], Path], tmp_path: Path, where: str
) -> None:
    address = ("--address", f"unix:{tmp_path}/model.sock") if where == "unix" else ()
    checked = ("--alive-path", "/ping", "--alive-interval", 0.1, "--alive-timeout", 1, "--stop-timeout", 1)
    supervised = start(*address, *checked, "--code-dir", model(UNSTRUCTURED), "--target-type", "unstructured")
    supervised.until_phase("serving")
    stopped = supervised.pid()
    os.kill(stopped, signal.SIGSTOP)
    assert supervised.post("/invocations", b"x", "text/plain").body == b"fine"  # waits in the backlog
    status = until_replaced(supervised)
    assert supervised.pid() != stopped
    assert status["failure"] is None
    assert warnings(supervised)[-1].endswith(
        "the model server did not answer GET /ping within 1 s, 3 times in a row: that counts as a crash"
    )
    assert supervised.stop() == 0


def test_main_process_without_its_worker_is_replaced(start: Start, reserved_port: int) -> None:
    command = (sys.executable, "-c", IGNORES_WORKER_EXIT, "{host}", "{port}")
    supervised = start(*QUICK, "--address", f"127.0.0.1:{reserved_port}", "--", *command)
    supervised.until_phase("serving")
    (worker,) = [process for process in supervised.left() if process.ppid() == supervised.pid()]
    worker.kill()
    until_replaced(supervised)
    assert supervised.get("/").body == b"hello"
    assert supervised.stop() == 0


def test_frozen_workers_are_replaced_as_one_crash(serve) -> None:
    supervised = serve("200", "--workers", 2, "--stop-timeout", 1)
    supervised.until_status(lambda status: status["workers_ready"] == 2)
    before = {supervised.pid(f"model-server-{worker}") for worker in (1, 2)}
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    status = supervised.until_status(lambda status: status["workers_ready"] == 2 and status["restarts"]["crash"])
    assert status["restarts"]["crash"] == 1
    assert not before & {supervised.pid(f"model-server-{worker}") for worker in (1, 2)}
    assert supervised.stop() == 0


def test_too_many_failed_probes_end_in_the_error_server(serve) -> None:
    supervised = serve("500 hang", "--alive-failures", 2, "--max-restarts", 1, "--restart-window", 600)
    failure = supervised.until_phase("failed")["failure"]
    failures = "answered GET /alive with status 500 or did not answer GET /alive within 1 s"
    error = f"the model server {failures}, 2 times in a row"
    assert (failure["cause"], failure["error"], failure["exit_status"]) == ("kept_dying", error, None)
    answer = supervised.get("/x")
    assert (answer.status, answer.json()) == (513, {"message": f"ERROR: {error}"})
    before = probes_received()
    Path("answers").write_text("200")
    assert supervised.run("restart").returncode == 0
    supervised.until(lambda: probes_received() > before)
    assert supervised.status()["phase"] == "serving"
    assert supervised.stop() == 0


def test_failed_probe_without_restarts_ends_the_supervisor(serve) -> None:
    supervised = serve("500", "--alive-timeout", 20, "--alive-failures", 1, "--max-restarts", 0, "--no-error-server")
    assert supervised.wait() == 5
    assert supervised.last_line == (
        "drum-supervise: exit 5: the model server is not restarted: "
        "the model server answered GET /alive with status 500"
    )


def test_success_resets_the_failure_count(serve) -> None:
    supervised = serve("500 500 404", "--alive-timeout", 20)
    supervised.until(lambda: probes_received() >= 7)
    status = supervised.status()
    assert (status["phase"], status["restarts"]["crash"]) == ("serving", 0)
    assert supervised.stop() == 0


def test_restart_drops_a_pending_probe(serve) -> None:
    supervised = serve("hang", "--alive-timeout", 600)
    for probes in (1, 2, 3):
        supervised.until(lambda probes=probes: probes_received() == probes)
        assert supervised.run("restart").returncode == 0
    assert supervised.status()["restarts"]["request"] == 3
    assert warnings(supervised) == []
    assert supervised.stop() == 0


def test_exit_during_a_probe_is_reported_as_the_exit(serve) -> None:
    supervised = serve("hang", "--alive-timeout", 600, "--alive-failures", 1)
    supervised.until(lambda: probes_received() == 1)
    os.kill(supervised.pid(), signal.SIGKILL)
    until_replaced(supervised)
    assert [line.partition(") ")[2] for line in warnings(supervised)] == ["was killed by SIGKILL"]
    assert supervised.stop() == 0


def test_paused_supervisor_does_not_blame_the_server(serve, fifo) -> None:
    fifo("later")
    supervised = serve("later", "--alive-failures", 1)
    supervised.until(lambda: probes_received() == 1)
    os.kill(supervised.process.pid, signal.SIGSTOP)
    over = time.monotonic() + 2.0  # twice the probe timeout
    supervised.until(lambda: time.monotonic() > over)
    Path("answers").write_text("200")
    os.kill(supervised.process.pid, signal.SIGCONT)
    Path("later").write_text("now")
    supervised.until(lambda: probes_received() >= 3)
    assert supervised.status()["restarts"]["crash"] == 0
    assert warnings(supervised) == []
    assert supervised.stop() == 0
