"""Servers with their own workers, and servers that run without their model: no crash loop, no split brain, and the true
reason. The commands are small and behave like DRUM with a model that cannot be loaded."""

import json
import sys
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.stories.test_commands import TINY, script
from tests.support import Supervised

# Each gunicorn worker loads the model by itself, with the result $HOW. With $LOADED the first one succeeds.
APP = """
import os, signal, sys, time
def load():
    how = os.environ["HOW"]
    if "LOADED" in os.environ:
        try:
            os.mkdir(os.environ["LOADED"])
            how = "loads"
        except FileExistsError:
            pass
    if how == "raises":
        raise ValueError("no weights")
    if how == "answers-513":
        from flask import Flask
        app = Flask("error-server")
        @app.errorhandler(404)
        def error(_):
            return {"message": "ERROR: no weights"}, 513
        return app
    time.sleep(0.5)  # only the master's log shows a worker that exits at once
    if how == "sys-exit":
        sys.exit(7)
    if how == "os-exit":
        os._exit(9)
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    return app
app = load()
"""

QUIET = ("--log-level", "critical")  # the master logs nothing about its workers
ENDS = {
    "raises": ("ValueError: no weights", 3),
    "sys-exit": ("exited with status 7 before it was ready", 3),
    "os-exit": ("exited with status 9 before it was ready", 3),
    "segfault": ("was killed by SIGSEGV before it was ready", 139),
}


@pytest.fixture
def gunicorn(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Start gunicorn with APP."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)

    def begin(how: str, *arguments: str, ours: tuple[str, ...] = (), **environ: str) -> Supervised:
        command = [script("gunicorn"), "-b", "fd://{fd}", "--no-control-socket", *arguments, "app:app"]
        return start(*ours, "--", *command, HOW=how, **environ)

    return begin


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("how", ENDS)
def test_worker_exit_before_ready_is_a_failure(gunicorn, how: str, workers: str) -> None:
    supervised = gunicorn(how, "-w", workers)
    error, _ = ENDS[how]
    status = supervised.until_phase("failed")
    assert error in status["failure"]["error"]
    assert status["restarts"]["crash"] == 0
    answer = supervised.post("/predict/", b"")
    assert (answer.status, error in answer.json()["message"]) == (513, True)
    assert supervised.stop() == 0


@pytest.mark.parametrize("how", ["os-exit", "segfault"])
def test_worker_exit_is_found_without_the_master_log(gunicorn, how: str, kernel_reports_exits: None) -> None:
    supervised = gunicorn(how, *QUIET, ours=("--no-error-server",))
    error, code = ENDS[how]
    assert supervised.wait() == code
    assert error in supervised.last_line


@pytest.fixture
def kernel_reports_exits() -> None:
    if tuple(int(number) for number in Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2]) < (6, 15):
        pytest.skip("before Linux 6.15 the kernel reports an exit status only to the parent")


@pytest.mark.parametrize("how", ["raises", "os-exit"])
def test_one_failed_worker_beside_a_good_one_is_a_failure(gunicorn, tmp_path: Path, how: str) -> None:
    supervised = gunicorn(how, "-w", "2", LOADED=str(tmp_path / "loaded"))
    status = supervised.until_phase("failed")
    assert ENDS[how][0] in status["failure"]["error"]
    assert status["restarts"]["crash"] == 0
    assert supervised.stop() == 0


def test_server_that_answers_513_has_failed(gunicorn) -> None:
    supervised = gunicorn("answers-513", "-w", "2")
    status = supervised.until_phase("failed")
    assert status["failure"]["error"] == "no weights"
    answer = supervised.get("/ping")
    assert (answer.status, answer.headers["x-drum-supervisor"]) == (200, "error-server")
    assert supervised.stop() == 0


def test_failure_status_can_be_chosen(start: Start) -> None:
    code = TINY.replace("send_response(200)", "send_response(520)") + "server.serve_forever()\n"
    arguments = ("--listener", "inherit", "--ready-failed", "520", "--", sys.executable, "-c", code)
    assert start(*arguments).until_phase("failed")["failure"]["error"] == "hello"


def test_killed_master_is_a_crash_even_after_a_worker_died(gunicorn) -> None:
    supervised = gunicorn("loads", "--workers", "2")
    supervised.until_phase("serving")
    (master,) = [process for process in supervised.left() if process.pid == supervised.pid()]
    workers = master.children()
    workers[0].kill()
    supervised.until(lambda: workers[0].pid not in {child.pid for child in master.children()})
    supervised.until(lambda: "SIGKILL" in supervised.err.read_text())  # in the master's log
    master.kill()
    status = supervised.until_status(lambda status: status["restarts"]["crash"] == 1 and status["phase"] == "serving")
    assert status["failure"] is None
    assert supervised.stop() == 0


def test_one_or_several_workers_serve(gunicorn) -> None:
    for workers in ("1", "3"):
        supervised = gunicorn("loads", "-w", workers)
        supervised.until_phase("serving")
        assert supervised.get("/").body == b"ok"
        assert supervised.stop() == 0


HELPERS = """
import multiprocessing, os, subprocess, sys
def fail():
    sys.exit(1)
if __name__ == "__main__":
    forks = multiprocessing.get_context("fork")
    for _ in range(2):
        subprocess.run([sys.executable, "-c", "import sys, time; time.sleep(0.3); sys.exit(1)"])
        subprocess.run("sleep 0.3; exit 1", shell=True, close_fds=False)
    with forks.Pool(2) as pool:
        pool.map(os.path.exists, "ab")
    helper = forks.Process(target=fail)
    helper.start()
    helper.join()
"""


def test_failing_helpers_during_load_are_ignored(start: Start) -> None:
    code = HELPERS + "    " + TINY.replace("\n", "\n    ") + "\n    server.serve_forever()\n"
    supervised = start("--listener", "inherit", "--", sys.executable, "-c", code)
    supervised.until_phase("serving")
    assert supervised.status()["failure"] is None
    assert supervised.stop() == 0


# A fake drum: it answers every request with its own arguments and environment.
DRUM = f"""#!{sys.executable}
import http.server, json, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("WITH_ERROR_SERVER", "MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS")
        body = json.dumps({{"argv": sys.argv[1:], **{{name: os.environ.get(name) for name in names}}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
assert os.environ["LISTEN_PID"] == str(os.getpid())
server.serve_forever()
"""


@pytest.fixture
def drum_in_path(tmp_path: Path) -> str:
    program = tmp_path / "bin" / "drum"
    program.parent.mkdir()
    program.write_text(DRUM)
    program.chmod(0o755)
    return str(program.parent)


def test_drum_in_path_gets_the_listener(start: Start, drum_in_path: str, tmp_path: Path) -> None:
    arguments = ("--server-type", "drum", "--code-dir", tmp_path, "--target-type", "regression", "--workers", "2")
    supervised = start(*arguments, PATH=drum_in_path)
    assert supervised.until_phase("serving")["server_type"] == "drum"
    received = supervised.get("/").json()
    address = ["--address", str(supervised.address)]
    assert received["argv"] == ["server", "--code-dir", str(tmp_path), "--target-type", "regression", *address]
    assert json.loads(received["MLOPS_RUNTIME_PARAM_CUSTOM_MODEL_WORKERS"]) == {"type": "numeric", "payload": 2}
    assert supervised.stop() == 0


def test_drum_command_line_needs_only_our_prefix(start: Start, drum_in_path: str, reserved_port: int) -> None:
    line = ["drum", "server", "--address", f"127.0.0.1:{reserved_port}", "--with-error-server", "--code-dir", "m"]
    supervised = start("--address", f"127.0.0.1:{reserved_port}", "--", *line, PATH=drum_in_path, WITH_ERROR_SERVER="1")
    supervised.until_phase("serving")
    received = supervised.get("/").json()
    assert received["argv"] == ["server", "--code-dir", "m", "--address", f"127.0.0.1:{reserved_port}"]
    assert not received["WITH_ERROR_SERVER"]


def test_missing_drum_is_a_usage_error(start: Start, tmp_path: Path) -> None:
    supervised = start("--server-type", "drum", "--code-dir", tmp_path, PATH="/nowhere")
    assert supervised.wait() == 2
    assert "no command 'drum' in PATH" in supervised.last_line
