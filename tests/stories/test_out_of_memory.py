"""Memory that runs out, for real: a control group of the kernel with a limit, and a model that takes more."""

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
EATS = """
import multiprocessing, pathlib, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
EATER = "kept = []\\nwhile True: kept.append(bytearray(8 * 1024 * 1024))"
def eat():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
def in_pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(exec, EATER).result()
def in_command():
    return subprocess.run([sys.executable, "-c", EATER]).returncode
def load_model(code_dir):
    for name, what in {"hungry": eat, "pool": in_pool, "command": in_command}.items():
        if (pathlib.Path(code_dir) / name).exists():
            what()
    return 1
def score_unstructured(model, data, **kwargs):
    if data == "eat":
        eat()
    if data == "command":
        return str(in_command())
    return data
"""


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    with limited_group(LIMIT) as join:
        yield join


@pytest.fixture
def hungry(model: Callable[[str], Path]) -> Path:
    folder = model(EATS)
    (folder / "hungry").touch()
    return folder


SAID = f"out of memory: killed by the kernel at {LIMIT}.0 MiB of {LIMIT}.0 MiB, "


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_a_model_that_is_too_large_is_said_to_be(limited, start: Start, hungry, server_type: str) -> None:
    given = ("--code-dir", hungry, "--target-type", "unstructured", "--server-type", server_type)
    supervised = start(*given, before=limited)
    failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(SAID)
    assert failure["out_of_memory"] is True
    assert failure["memory_limit_bytes"] == LIMIT * MIB
    answer = supervised.post("/invocations", b"x", "text/plain")
    assert answer.status == 513
    assert answer.json()["message"].startswith(f"ERROR: {SAID}")
    assert SAID in supervised.err.read_text()
    assert json.loads(supervised.run("failure", "--json").stdout)["out_of_memory"] is True
    assert supervised.stop() == 0


def test_without_error_server_the_exit_code_is_137_and_the_last_line_says_why(
    limited, start: Start, hungry, tmp_path: Path
) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    given = ("--code-dir", hungry, "--target-type", "unstructured", "--termination-log", termination_log)
    supervised = start("--no-error-server", *given, before=limited)
    assert supervised.wait() == 137
    assert SAID in supervised.last_line
    assert SAID in termination_log.read_text()


def test_a_model_that_grows_too_large_while_it_serves_is_said_to_have(limited, start: Start, hungry) -> None:
    (hungry / "hungry").unlink()
    given = ("--code-dir", hungry, "--target-type", "unstructured", "--max-restarts", "0")
    supervised = start(*given, before=limited)
    supervised.until_phase("serving")
    with supervised.connect() as connection:
        connection.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\neat"
        )
        failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(SAID)
    assert supervised.stop() == 0


def test_somebody_s_kill_is_not_the_kernel_s(limited, start: Start, hungry) -> None:
    (hungry / "hungry").unlink()
    supervised = start("--code-dir", hungry, "--target-type", "unstructured", "--max-restarts", "0", before=limited)
    supervised.until_phase("serving")
    os.kill(supervised.pid(), 9)
    failure = supervised.until_phase("failed")["failure"]
    assert "was killed by SIGKILL" in failure["error"]
    assert failure["out_of_memory"] is False
    assert supervised.stop() == 0


# --- commands: their workers load the model, and a master goes on, or gives up in its own way

APP = """
import os
def eat():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
if os.path.exists("hungry"):
    eat()
def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/eat":
        eat()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/eat":
        eat()
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
    """Start a server in the group with a limit: a command by its name, or the built-in gunicorn."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)

    def begin(name: str, *ours: object) -> Supervised:
        if name == "built-in":
            (tmp_path / "custom.py").write_text(EATS)
            given = ("--code-dir", tmp_path, "--target-type", "unstructured", "--server-type", "gunicorn")
            return start(*ours, *given, "--workers", "2", before=limited)
        program, *arguments = COMMANDS[name]
        return start(*ours, "--", script(program), *arguments, before=limited)

    return begin


def feed(supervised: Supervised, name: str) -> None:
    """Ask for what takes all memory, and wait until whoever was asked is gone."""
    path, body = ("/invocations", b"eat") if name == "built-in" else ("/eat", b"")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    with supervised.connect() as connection, suppress(ConnectionResetError):
        connection.sendall(head.encode() + body)
        assert connection.recv(1) == b""


def until_kills(supervised: Supervised, number: int) -> dict[str, Any]:
    return supervised.until_status(lambda status: (status["out_of_memory"] or {"kills": 0})["kills"] >= number)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_whose_model_is_too_large_is_said_to_be(serve, name: str, tmp_path: Path) -> None:
    (tmp_path / "hungry").touch()
    supervised = serve(name)
    status = supervised.until_phase("failed")
    failure = status["failure"]
    assert failure["error"].startswith(SAID)
    assert (failure["out_of_memory"], failure["memory_limit_bytes"]) == (True, LIMIT * MIB)
    assert status["out_of_memory"]["kills"] >= 1
    answer = supervised.post("/predict/", b"")
    assert (answer.status, answer.json()["message"][: len(f"ERROR: {SAID}")]) == (513, f"ERROR: {SAID}")
    assert SAID in supervised.err.read_text()
    assert supervised.stop() == 0


@pytest.mark.parametrize("name", ["gunicorn-2", "uvicorn-2", "hypercorn-2", "built-in"])
def test_the_exit_code_is_137_also_when_it_was_a_worker_of_the_server(serve, name: str, tmp_path: Path) -> None:
    (tmp_path / "hungry").touch()
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    supervised = serve(name, "--no-error-server", "--termination-log", termination_log)
    assert supervised.wait() == 137
    assert SAID in supervised.last_line
    assert SAID in termination_log.read_text()


@pytest.mark.parametrize("name", ["gunicorn-2", "uvicorn-2", "built-in"])
def test_a_worker_that_its_master_replaces_is_noticed_and_the_service_goes_on(serve, name: str) -> None:
    supervised = serve(name)
    supervised.until_phase("serving")
    workers = [worker.pid for worker in psutil.Process(supervised.pid()).children()]
    feed(supervised, name)
    status = until_kills(supervised, 1)
    assert (status["phase"], status["failure"], status["restarts"]["crash"]) == ("serving", None, 0)
    memory = status["out_of_memory"]
    assert (memory["kills"], memory["limit_bytes"], memory["peak_bytes"]) == (1, LIMIT * MIB, LIMIT * MIB)
    line = rf"worker (\d+) of model-server \(pid {supervised.pid()}\) is gone, {SAID}"
    found = supervised.until(lambda: re.search(line, supervised.err.read_text()))
    assert int(found[1]) in workers
    assert "1 process was killed by the kernel" in supervised.run("status").stdout
    assert supervised.get("/").status == 200
    assert supervised.stop() == 0


def test_workers_that_are_killed_again_and_again_are_a_failure_and_a_restart_mends_it(serve) -> None:
    supervised = serve("built-in", "--max-restarts", "1")
    supervised.until_phase("serving")
    feed(supervised, "built-in")
    until_kills(supervised, 1)
    assert supervised.get("/").status == 200
    feed(supervised, "built-in")
    failure = supervised.until_phase("failed")["failure"]
    assert failure["error"].startswith(SAID)
    assert (failure["cause"], failure["signal"], failure["out_of_memory"]) == ("kept_dying", 9, True)
    assert supervised.post("/invocations", b"x", "text/plain").json()["message"].startswith(f"ERROR: {SAID}")
    assert supervised.run("restart").returncode == 0
    status = supervised.until_phase("serving")
    assert (status["failure"], status["out_of_memory"]["kills"]) == (None, 2)
    assert supervised.stop() == 0


@pytest.mark.parametrize("name", ["gunicorn", "uvicorn-2", "built-in"])
def test_one_kill_is_the_end_where_no_restart_is_allowed(serve, name: str, tmp_path: Path) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.touch()
    supervised = serve(name, "--max-restarts", "0", "--no-error-server", "--termination-log", termination_log)
    supervised.until_phase("serving")
    feed(supervised, name)
    assert supervised.wait() == 137
    assert f"the model server is not restarted: {SAID}" in supervised.last_line
    assert SAID in termination_log.read_text()


# --- whom the kernel is to take when one is not enough


def score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_who_uses_the_memory_goes_before_the_supervisor_and_its_error_server(start: Start, tmp_path: Path) -> None:
    """A supervisor was killed 8 ms after the worker that had eaten everything, whose memory was not back yet."""
    (tmp_path / "custom.py").write_text("def load_model(code_dir):\n    raise OSError\n")
    (tmp_path / "further.conf").write_text("[program:further]\ncommand = sleep 1000\n")
    given = ("--code-dir", tmp_path, "--target-type", "unstructured", "--config", tmp_path / "further.conf")
    supervised = start(*given)
    supervised.until_status(lambda status: status["error_server_active"])
    ours = score(supervised.process.pid)
    assert ours == score(os.getpid()) == score(supervised.pid("error-server"))
    assert score(supervised.pid("further")) == min(ours + 100, 1000)
    (tmp_path / "custom.py").write_text("def load_model(code_dir):\n    return 1\nscore_unstructured = len\n")
    assert supervised.run("restart").returncode == 0
    assert score(supervised.pid()) == min(ours + 100, 1000)
    assert supervised.stop() == 0


# --- helpers of the model


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_a_model_that_fails_of_its_helper_s_death_says_so_and_the_kernel_s_part_is_added(
    limited, start: Start, hungry, server_type: str
) -> None:
    (hungry / "hungry").rename(hungry / "pool")
    given = ("--code-dir", hungry, "--target-type", "unstructured", "--server-type", server_type)
    failure = start(*given, before=limited).until_phase("failed")["failure"]
    assert failure["error"].startswith("BrokenProcessPool: ")
    also = f"; the kernel also killed a process, out of memory at {LIMIT}.0 MiB of {LIMIT}.0 MiB"
    assert failure["error"].endswith(also)
    assert (failure["out_of_memory"], failure["memory_limit_bytes"]) == (False, LIMIT * MIB)


def test_a_helper_that_a_model_survives_is_told_of_and_is_no_crash(limited, start: Start, hungry) -> None:
    (hungry / "hungry").rename(hungry / "command")
    given = ("--code-dir", hungry, "--target-type", "unstructured", "--max-restarts", "0")
    supervised = start(*given, before=limited)
    supervised.until_phase("serving")
    answer = supervised.post("/invocations", b"command", "text/plain")
    assert (answer.status, answer.body) == (200, b"-9")
    status = until_kills(supervised, 2)
    assert (status["phase"], status["failure"], status["restarts"]["crash"]) == ("serving", None, 0)
    who = rf"(process \d+ below|a process in the control group of) model-server \(pid {supervised.pid()}\) is gone, "
    supervised.until(lambda: len(re.findall(who + SAID, supervised.err.read_text())) == 2)
    assert supervised.stop() == 0
