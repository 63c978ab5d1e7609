"""Real OOM kills: models that exceed the memory limit of a real control group."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.stories.conftest import Start
from tests.stories.test_commands import script
from tests.support import Supervised
from tests.unit.control_groups import MIB, limited_group

LIMIT = 400
ALLOCATES = """
import multiprocessing, pathlib, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
ENDLESS = "kept = []\\nwhile True: kept.append(bytearray(8 * 1024 * 1024))"
def allocate():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
def in_pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(exec, ENDLESS).result()
def in_command():
    return subprocess.run([sys.executable, "-c", ENDLESS]).returncode
def load_model(code_dir):
    for name, call in {"itself": allocate, "pool": in_pool, "command": in_command}.items():
        if (pathlib.Path(code_dir) / name).exists():
            call()
    return 1
def score_unstructured(model, data, **kwargs):
    if data == "allocate":
        allocate()
    if data == "command":
        return str(in_command())
    return data
"""


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    with limited_group(LIMIT) as join:
        yield join


@pytest.fixture
def too_large(model: Callable[[str], Path]) -> Path:
    folder = model(ALLOCATES)
    (folder / "itself").touch()
    return folder


OOM_KILLED = f"out of memory: killed by the kernel at {LIMIT}.0 MiB of {LIMIT}.0 MiB, "


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_model_too_large_for_memory_is_reported(limited, start: Start, too_large, server_type: str) -> None:
    given = ("--code-dir", too_large, "--target-type", "unstructured", "--server-type", server_type)
    supervised = start(*given, before=limited)
    failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(OOM_KILLED)
    assert failure["out_of_memory"] is True
    assert failure["memory_limit_bytes"] == LIMIT * MIB
    answer = supervised.post("/invocations", b"x", "text/plain")
    assert answer.status == 513
    assert answer.json()["message"].startswith(f"ERROR: {OOM_KILLED}")
    assert OOM_KILLED in supervised.err.read_text()
    assert json.loads(supervised.run("failure", "--json").stdout)["out_of_memory"] is True
    assert supervised.stop() == 0


def test_without_error_server_exits_with_137_and_the_reason(limited, start: Start, too_large, tmp_path: Path) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    given = ("--code-dir", too_large, "--target-type", "unstructured", "--termination-log", termination_log)
    supervised = start("--no-error-server", *given, before=limited)
    assert supervised.wait() == 137
    assert OOM_KILLED in supervised.last_line
    assert OOM_KILLED in termination_log.read_text()


def test_oom_kill_while_serving_is_reported(limited, start: Start, too_large) -> None:
    (too_large / "itself").unlink()
    given = ("--code-dir", too_large, "--target-type", "unstructured", "--max-restarts", "0")
    supervised = start(*given, before=limited)
    supervised.until_phase("serving")
    with supervised.connect() as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nallocate"
        )
        failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(OOM_KILLED)
    assert supervised.stop() == 0


def test_sigkill_by_a_user_is_not_an_oom_kill(limited, start: Start, too_large) -> None:
    (too_large / "itself").unlink()
    supervised = start("--code-dir", too_large, "--target-type", "unstructured", "--max-restarts", "0", before=limited)
    supervised.until_phase("serving")
    os.kill(supervised.pid(), 9)
    failure = supervised.until_phase("failed")["failure"]
    assert "was killed by SIGKILL" in failure["error"]
    assert failure["out_of_memory"] is False
    assert supervised.stop() == 0


# --- commands: their workers load the model, and the master goes on or gives up in its own way

APP = """
import os
def allocate():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
if os.path.exists("itself"):
    allocate()
def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/allocate":
        allocate()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/allocate":
        allocate()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
COMMANDS = {
    "gunicorn": ("gunicorn", "-b", "fd://{fd}", "--no-control-socket", "app:wsgi"),
    "gunicorn-2": ("gunicorn", "-b", "fd://{fd}", "--no-control-socket", "-w", "2", "app:wsgi"),
    "uvicorn": ("uvicorn", "app:asgi", "--fd", "{fd}"),
    "uvicorn-2": ("uvicorn", "app:asgi", "--fd", "{fd}", "--workers", "2"),
    "hypercorn-2": ("hypercorn", "--bind", "fd://{fd}", "--workers", "2", "app:asgi"),
}


@pytest.fixture
def serve(limited, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervised]:
    """Start a server in the limited group: a command by its name, or the built-in gunicorn."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)

    def begin(name: str, *ours: object) -> Supervised:
        if name == "built-in":
            (tmp_path / "custom.py").write_text(ALLOCATES)
            given = ("--code-dir", tmp_path, "--target-type", "unstructured", "--server-type", "gunicorn")
            return start(*ours, *given, "--workers", "2", before=limited)
        program, *arguments = COMMANDS[name]
        return start(*ours, "--", script(program), *arguments, before=limited)

    return begin


def exhaust_memory(supervised: Supervised, name: str) -> None:
    """Send a request that exhausts the memory; return when the kernel has killed its worker."""
    path, body = ("/invocations", b"allocate") if name == "built-in" else ("/allocate", b"")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    with supervised.connect() as connection, suppress(ConnectionResetError):
        connection.sendall(head.encode() + body)
        assert connection.recv(1) == b""


def until_kills(supervised: Supervised, number: int) -> dict[str, Any]:
    return supervised.until_status(lambda status: (status["out_of_memory"] or {"kills": 0})["kills"] >= number)


@pytest.mark.parametrize("name", COMMANDS)
def test_command_too_large_for_memory_is_reported(serve, name: str, tmp_path: Path) -> None:
    (tmp_path / "itself").touch()
    supervised = serve(name)
    status = supervised.until_phase("failed")
    failure = status["failure"]
    assert failure["error"].startswith(OOM_KILLED)
    assert (failure["out_of_memory"], failure["memory_limit_bytes"]) == (True, LIMIT * MIB)
    assert status["out_of_memory"]["kills"] >= 1
    answer = supervised.post("/predict/", b"")
    assert (answer.status, answer.json()["message"][: len(f"ERROR: {OOM_KILLED}")]) == (513, f"ERROR: {OOM_KILLED}")
    assert OOM_KILLED in supervised.err.read_text()
    assert supervised.stop() == 0


@pytest.mark.parametrize("name", ["gunicorn-2", "uvicorn-2", "hypercorn-2", "built-in"])
def test_oom_kill_of_a_server_worker_exits_with_137(serve, name: str, tmp_path: Path) -> None:
    (tmp_path / "itself").touch()
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    supervised = serve(name, "--no-error-server", "--termination-log", termination_log)
    assert supervised.wait() == 137
    assert OOM_KILLED in supervised.last_line
    assert OOM_KILLED in termination_log.read_text()


@pytest.mark.parametrize("name", ["gunicorn-2", "uvicorn-2", "built-in"])
def test_oom_kill_of_a_replaced_worker_is_counted(serve, name: str) -> None:
    supervised = serve(name)
    supervised.until_phase("serving")
    workers = [worker.pid for worker in psutil.Process(supervised.pid()).children()]
    exhaust_memory(supervised, name)
    status = until_kills(supervised, 1)
    assert (status["phase"], status["failure"], status["restarts"]["crash"]) == ("serving", None, 0)
    memory = status["out_of_memory"]
    assert (memory["kills"], memory["limit_bytes"], memory["peak_bytes"]) == (1, LIMIT * MIB, LIMIT * MIB)
    line = rf"worker (\d+) of model-server \(pid {supervised.pid()}\) is gone, {OOM_KILLED}"
    found = supervised.until(lambda: re.search(line, supervised.err.read_text()))
    assert int(found[1]) in workers
    assert "1 process was killed by the kernel" in supervised.run("status").stdout
    assert supervised.get("/").status == 200
    assert supervised.stop() == 0


def test_repeated_oom_kills_fail_until_a_restart(serve) -> None:
    supervised = serve("built-in", "--max-restarts", "1")
    supervised.until_phase("serving")
    exhaust_memory(supervised, "built-in")
    until_kills(supervised, 1)
    assert supervised.get("/").status == 200
    exhaust_memory(supervised, "built-in")
    failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(OOM_KILLED)
    assert (failure["cause"], failure["signal"], failure["out_of_memory"]) == ("kept_dying", 9, True)
    assert supervised.post("/invocations", b"x", "text/plain").json()["message"].startswith(f"ERROR: {OOM_KILLED}")
    assert supervised.run("restart").returncode == 0
    status = supervised.until_phase("serving")
    assert (status["failure"], status["out_of_memory"]["kills"]) == (None, 2)
    assert supervised.stop() == 0


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn-2", "built-in"])
def test_one_oom_kill_without_restarts_exits_with_137(serve, name: str, tmp_path: Path) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    supervised = serve(name, "--max-restarts", "0", "--no-error-server", "--termination-log", termination_log)
    supervised.until_phase("serving")
    exhaust_memory(supervised, name)
    assert supervised.wait() == 137
    assert f"the model server is not restarted: {OOM_KILLED}" in supervised.last_line
    assert OOM_KILLED in termination_log.read_text()


# --- the order in which the kernel chooses victims


def oom_score_adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_kernel_prefers_model_processes_over_the_supervisor(start: Start, tmp_path: Path) -> None:
    # the kernel once killed a supervisor 8 ms after its worker, whose memory was not yet free
    (tmp_path / "custom.py").write_text("def load_model(code_dir):\n    raise OSError\n")
    (tmp_path / "extra.conf").write_text("[program:extra]\ncommand = sleep 1000\n")
    given = ("--code-dir", tmp_path, "--target-type", "unstructured", "--config", tmp_path / "extra.conf")
    supervised = start(*given)
    supervised.until_status(lambda status: status["error_server_active"])
    ours = oom_score_adj(supervised.process.pid)
    assert ours == oom_score_adj(os.getpid()) == oom_score_adj(supervised.pid("error-server"))
    assert oom_score_adj(supervised.pid("extra")) == min(ours + 100, 1000)
    (tmp_path / "custom.py").write_text("def load_model(code_dir):\n    return 1\nscore_unstructured = len\n")
    assert supervised.run("restart").returncode == 0
    assert oom_score_adj(supervised.pid()) == min(ours + 100, 1000)
    assert supervised.stop() == 0


# --- helpers of the model


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_failure_mentions_the_oom_kill_of_a_helper(limited, start: Start, too_large, server_type: str) -> None:
    (too_large / "itself").rename(too_large / "pool")
    given = ("--code-dir", too_large, "--target-type", "unstructured", "--server-type", server_type)
    failure = start(*given, before=limited).until_phase("failed")["failure"]
    assert failure["error"].startswith("BrokenProcessPool: ")
    also = f"; the kernel also killed a process, out of memory at {LIMIT}.0 MiB of {LIMIT}.0 MiB"
    assert failure["error"].endswith(also)
    assert (failure["out_of_memory"], failure["memory_limit_bytes"]) == (False, LIMIT * MIB)


def test_oom_kill_of_a_helper_is_no_crash(limited, start: Start, too_large) -> None:
    (too_large / "itself").rename(too_large / "command")
    given = ("--code-dir", too_large, "--target-type", "unstructured", "--max-restarts", "0")
    supervised = start(*given, before=limited)
    supervised.until_phase("serving")
    answer = supervised.post("/invocations", b"command", "text/plain")
    assert (answer.status, answer.body) == (200, b"-9")
    status = until_kills(supervised, 2)
    assert (status["phase"], status["failure"], status["restarts"]["crash"]) == ("serving", None, 0)
    victim = rf"(process \d+ below|a process in the control group of) model-server \(pid {supervised.pid()}\) is gone, "
    supervised.until(lambda: len(re.findall(victim + OOM_KILLED, supervised.err.read_text())) == 2)
    assert supervised.stop() == 0
