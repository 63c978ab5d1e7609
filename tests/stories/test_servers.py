"""Third-party servers: each serves, restarts and crashes, and each has a model that fails or hangs.

`make compat` runs many more of them, each in its own environment; see docs/servers.md.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.stories.conftest import Start
from tests.stories.test_commands import TINY, script
from tests.stories.test_ending import own_pids
from tests.stories.test_swap import under_load
from tests.support import Supervised

MODEL = """
import os, threading
if os.environ.get("FAIL") == "import":
    raise RuntimeError("the module is broken")
def load():
    if os.environ.get("FAIL") == "load":
        raise RuntimeError("the weights are not there")
    if os.environ.get("FAIL") == "hang":
        threading.Event().wait()
"""

ASGI = """
import traceback
from model import load
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            load()
        except Exception:
            await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""

WSGI = """
from flask import Flask
from model import load
load()
app = Flask(__name__)
@app.route("/", methods=["GET"])
@app.route("/invocations", methods=["POST"])
def hello():
    return "hello"
"""

WAITRESS = """
import socket, sys
from waitress import serve
from wsgi_app import app
serve(app, sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""

INHERIT = {
    "uvicorn": "uvicorn asgi_app:app --fd {fd}",
    "uvicorn-workers": "uvicorn asgi_app:app --fd {fd} --workers 2",
    "gunicorn": "gunicorn -b fd://{fd} --no-control-socket wsgi_app:app",
    "hypercorn": "hypercorn --bind fd://{fd} asgi_app:app",
    "waitress": "python waitress_server.py {fd}",
}
BIND = {
    "uvicorn-bound": "uvicorn asgi_app:app --host {host} --port {port}",
    "flask": "flask --app wsgi_app run --host {host} --port {port}",
    "granian": "granian --interface wsgi --host {host} --port {port} wsgi_app:app",
    "waitress-bound": "waitress-serve --listen {host}:{port} wsgi_app:app",
}
SERVERS = {**INHERIT, **BIND}
REASONS = {"import": "RuntimeError: the module is broken", "load": "RuntimeError: the weights are not there"}


@pytest.fixture(autouse=True)
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"model": MODEL, "asgi_app": ASGI, "wsgi_app": WSGI, "waitress_server": WAITRESS}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def serve(start: Start, reserved_port: int) -> Callable[..., Supervised]:
    """Start a server by its name; one that binds the port itself gets a reserved port."""

    def begin(name: str, *options: object, **environ: str) -> Supervised:
        command, *arguments = SERVERS[name].split()
        address = ("--address", f"127.0.0.1:{reserved_port}") if name in BIND else ()
        return start(*address, *options, "--", script(command), *arguments, **environ)

    return begin


@pytest.mark.parametrize("server", SERVERS)
def test_server_predicts_restarts_crashes_and_stops(serve, server: str) -> None:
    # on a stop each server may lose requests it has accepted: see docs/servers.md
    supervised = serve(server)
    supervised.until_phase("serving")
    assert supervised.post("/invocations", b"x").body == b"hello"
    restart_under_load(supervised, server in INHERIT)
    kill_with_its_descendants(supervised)
    assert supervised.post("/invocations", b"x").body == b"hello"
    assert supervised.stop() == 0


def restart_under_load(supervised: Supervised, inherits: bool) -> None:
    before = supervised.pid()
    with under_load(supervised.address) as client:
        supervised.until(lambda: client.outcomes[200] >= 20)
        assert supervised.run("restart").returncode == 0
        answered = client.outcomes[200]
        supervised.until(lambda: client.outcomes[200] >= answered + 20)
    assert supervised.status()["restarts"]["request"] == 1
    assert supervised.pid() != before
    assert not inherits or not [outcome for outcome in client.outcomes if "Refused" in str(outcome)]


def kill_with_its_descendants(supervised: Supervised) -> None:
    """Kill the server; its descendants are gone before the next one starts."""
    main = psutil.Process(supervised.pid())
    old = [main, *main.children(recursive=True)]
    main.kill()
    supervised.until_status(lambda status: status["phase"] == "serving" and status["restarts"]["crash"] == 1)
    assert [process for process in old if not is_gone(process)] == []


@pytest.mark.parametrize("fails", REASONS)
@pytest.mark.parametrize("server", SERVERS)
def test_failed_model_is_reported_on_the_same_port(serve, server: str, fails: str) -> None:
    supervised = serve(server, FAIL=fails)
    failure = supervised.until_phase("failed")["failure"]
    assert supervised.until(lambda: answer_of(supervised)) == (513, f"ERROR: {REASONS[fails]}")
    assert (failure["cause"], failure["signal"]) == ("init_failed", None)
    assert supervised.stop() == 0


def answer_of(supervised: Supervised) -> "tuple[int, str] | None":
    """Return status and message, None while no server has bound the port."""
    try:
        answer = supervised.get("/x")
    except ConnectionError:
        return None
    return answer.status, answer.json()["message"]


@pytest.mark.parametrize("server", SERVERS)
def test_hanging_model_is_given_up_in_time(serve, server: str) -> None:
    supervised = serve(server, "--startup-timeout", 2, "--stop-timeout", 1, "--no-error-server", FAIL="hang")
    assert supervised.wait() == 4
    assert "the model server was not ready within 2 s" in supervised.last_line


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the descendants of a server without the helpers of multiprocessing."""
    return [
        child for child in psutil.Process(pid).children(recursive=True) if "resource_tracker" not in command_line(child)
    ]


def command_line(process: psutil.Process) -> str:
    """Return the command line of a process, that of a helper if the process has exited."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return "resource_tracker"


def is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("server", "crashes"), [("uvicorn-workers", 0), ("gunicorn", 0), ("hypercorn", 1)])
def test_killed_worker_comes_back(serve, server: str, crashes: int) -> None:
    # gunicorn and uvicorn start another worker; hypercorn exits and is restarted
    supervised = serve(server)
    before = supervised.until_phase("serving")
    worker = supervised.until(lambda: workers_of(supervised.pid()))[-1]
    worker.kill()
    supervised.until(lambda: is_gone(worker))
    after = supervised.until_status(
        lambda status: status["phase"] == "serving" and status["restarts"]["crash"] == crashes
    )
    supervised.until(lambda: workers_of(supervised.pid()))
    assert supervised.get("/").body == b"hello"
    assert (after["programs"][0]["pid"] == before["programs"][0]["pid"]) is (crashes == 0)
    assert supervised.stop() == 0


EXECS = '#!/bin/sh\necho preparing >&2\nexec "$@"\n'
FORKS = '#!/bin/sh\n"$@" &\nwait\n'
LEAVES = '#!/bin/sh\n"$@" &\nexit 0\n'


def start_script(text: str) -> str:
    path = Path("start.sh").absolute()
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("text", [EXECS, FORKS], ids=["execs", "forks"])
def test_server_behind_a_start_script(start: Start, text: str) -> None:
    command, *arguments = SERVERS["uvicorn-workers"].split()
    supervised = start("--", start_script(text), script(command), *arguments)
    supervised.until_phase("serving")
    assert supervised.get("/").body == b"hello"
    assert supervised.run("restart").returncode == 0
    os.kill(supervised.pid(), signal.SIGKILL)  # the server that it has started ends as well
    supervised.until_status(lambda status: status["phase"] == "serving" and status["restarts"]["crash"] == 1)
    assert supervised.get("/").body == b"hello"
    assert supervised.stop() == 0


@pytest.mark.parametrize("text", [EXECS, FORKS], ids=["execs", "forks"])
def test_failure_behind_a_start_script(start: Start, text: str) -> None:
    command, *arguments = SERVERS["uvicorn"].split()
    supervised = start("--no-error-server", "--", start_script(text), script(command), *arguments, FAIL="load")
    assert supervised.wait() == 3
    assert supervised.last_line.endswith(REASONS["load"])


def test_exit_of_a_start_script_ends_its_server(start: Start) -> None:
    # the server in the background neither survives nor keeps the port
    command, *arguments = SERVERS["uvicorn"].split()
    supervised = start("--", start_script(LEAVES), script(command), *arguments)
    failure = supervised.until_phase("failed")["failure"]
    assert "exited with status 0 before it was ready" in failure["error"]
    supervised.until(lambda: {process.pid for process in supervised.left()} <= own_pids(supervised))
    assert supervised.get("/x").status == 513
    assert supervised.stop() == 0


@pytest.mark.parametrize("fails", [False, True], ids=["good", "failing"])
def test_command_in_another_environment(start: Start, tmp_path: Path, fails: bool) -> None:
    # drum_supervisor is not installed there; the error server runs in our own environment
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(other)], check=True)
    program = "import no_such_module" if fails else TINY + "server.serve_forever()"
    supervised = start("--listener", "inherit", "--", str(other / "bin" / "python"), "-c", program)
    status = supervised.until_phase("failed" if fails else "serving")
    if fails:
        assert status["failure"]["error"] == "ModuleNotFoundError: No module named 'no_such_module'"
    assert supervised.get("/").status == 200
    assert supervised.get("/x").status == (513 if fails else 200)
    assert supervised.stop() == 0
