"""After a failure: retries, limits, and giving up."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stories.conftest import Start
from tests.stories.test_commands import TINY

GOOD = "def score_unstructured(model, data, **kwargs): return 'fine'\n"
COUNTING = (
    GOOD
    + """
from pathlib import Path
def load_model(code_dir):
    tries = Path(code_dir, "tries")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        raise RuntimeError(f"not yet, try {len(tries.read_text())}")
    return 1
"""
)
NEVER = GOOD + "def load_model(code_dir): raise RuntimeError('never')\n"
READY_THEN_DIE = 'import os, signal; os.write(4, b\'{"kind": "ready"}\\n\'); os.kill(os.getpid(), signal.SIGKILL)'


def test_retries_bring_the_model_up_behind_the_error_server(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--target-type", "unstructured", "--max-retries", 5, "--retry-interval", 0.2)
    supervised = start("--code-dir", model(COUNTING), *arguments)
    status = supervised.until_phase("serving")
    assert (status["restarts"]["retry"], status["restarts"]["crash"]) == (2, 0)
    supervised.until(
        lambda: supervised.get("/ping").json() == {"message": "OK"}
    )  # the error server may still be stopping
    text = supervised.err.read_text()
    assert text.index("not yet, try 1") < text.index("not yet, try 2")
    assert supervised.stop() == 0


def test_attempts_left_are_counted_down(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--target-type", "unstructured", "--max-retries", 1, "--retry-interval", 0.1)
    supervised = start("--code-dir", model(NEVER), *arguments)
    status = supervised.until_status(lambda s: s["phase"] == "failed" and s["attempts_left"] == 0)
    assert (status["attempt"], status["next_retry_at"], status["restarts"]["retry"]) == (2, None, 1)
    assert supervised.get("/x").status == 513
    assert supervised.stop() == 0


def test_error_server_ends_after_its_ttl(start: Start, model: Callable[[str], Path]) -> None:
    supervised = start("--code-dir", model(NEVER), "--target-type", "unstructured", "--error-server-ttl", 0.3)
    assert supervised.wait() == 3
    assert supervised.last_line == "drum-supervise: exit 3: initialization failed in load_model: RuntimeError: never"


def test_crash_loop_is_given_up(start: Start) -> None:
    limits = ("--max-restarts", 2, "--restart-window", 600, "--no-error-server")
    supervised = start(
        *limits, "--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", READY_THEN_DIE
    )
    assert supervised.wait() == 5
    assert "kept dying after it had been ready: the model server was killed by SIGKILL after" in supervised.last_line


def test_crash_without_restarts_exits_with_its_signal(start: Start) -> None:
    limits = ("--max-restarts", 0, "--no-error-server")
    supervised = start(
        *limits, "--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", READY_THEN_DIE
    )
    assert supervised.wait() == 137


def test_killed_error_server_comes_back(start: Start, model: Callable[[str], Path]) -> None:
    supervised = start("--code-dir", model(NEVER), "--target-type", "unstructured")
    supervised.until_phase("failed")
    assert supervised.get("/x").status == 513
    os.kill(supervised.pid("error-server"), signal.SIGKILL)
    assert supervised.get("/x").status == 513
    assert supervised.stop() == 0


def test_error_server_answers_with_a_broken_framework(
    start: Start, model: Callable[[str], Path], tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    for name in ("fastapi", "flask"):
        (hidden / name).mkdir(parents=True)
        (hidden / name / "__init__.py").write_text("raise ImportError('no framework here')\n")
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    for server in ("fastapi", "flask"):
        supervised = start(
            "--code-dir", model(NEVER), "--target-type", "unstructured", "--server-type", server, PYTHONPATH=path
        )
        assert supervised.get("/x").json()["message"].startswith("ERROR: ")
        assert supervised.stop() == 0


def stand_in_is_gone(status: dict[str, Any]) -> bool:
    # the stand-in may accept one more connection just after the model is ready
    return all(program["state"] == "stopped" for program in status["programs"] if program["name"] == "stand-in")


def test_stand_in_answers_while_the_model_starts(
    start: Start, model: Callable[[str], Path], fifo: Callable[[str], Path]
) -> None:
    gate = fifo("gate")
    folder = model(GOOD + f"def load_model(d): return open({str(gate)!r}).read()\n")
    supervised = start("--code-dir", folder, "--target-type", "unstructured", "--while-starting", "respond")
    starting = supervised.get("/invocations")
    assert (starting.status, starting.headers["retry-after"]) == (503, "1")
    assert supervised.get("/livez").status == 200
    with open(gate, "w") as opened:
        opened.write("weights")
    status = supervised.until_status(lambda s: s["phase"] == "serving" and stand_in_is_gone(s))
    assert supervised.get("/ping").status == 200
    states = {program["name"]: program["state"] for program in status["programs"]}
    assert states == {"model-server": "ready", "stand-in": "stopped"}
    assert supervised.stop() == 0


def test_serve_is_start_with_the_sagemaker_profile(start: Start, model: Callable[[str], Path]) -> None:
    supervised = start(
        "--code-dir", model(GOOD + "def load_model(d): return 1\n"), "--target-type", "unstructured", command="serve"
    )
    supervised.until_status(lambda s: s["phase"] == "serving" and stand_in_is_gone(s))
    assert supervised.post("/invocations", b"x", "text/plain").body == b"fine"
    assert supervised.stop() == 0


ONE_FAILS = (
    GOOD
    + """
import os
def load_model(code_dir):
    try:
        os.close(os.open(os.path.join(code_dir, "first"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return 1
    raise RuntimeError("the first one fails")
"""
)


def test_one_failed_worker_is_restarted(start: Start, model: Callable[[str], Path]) -> None:
    supervised = start("--code-dir", model(ONE_FAILS), "--target-type", "unstructured", "--workers", 2)
    degraded = supervised.until_status(lambda s: s["phase"] == "serving" and s["workers_ready"] == 1)
    assert (degraded["degraded"], degraded["ready"]) == (True, True)
    whole = supervised.until_status(lambda s: s["workers_ready"] == 2)
    assert (whole["degraded"], whole["failure"]) == (False, None)
    assert "cannot be initialized: RuntimeError: the first one fails" in supervised.err.read_text()
    assert supervised.stop() == 0


def test_failed_worker_without_restarts_degrades_the_service(start: Start, model: Callable[[str], Path]) -> None:
    arguments = ("--target-type", "unstructured", "--workers", 2, "--max-restarts", 0)
    supervised = start("--code-dir", model(ONE_FAILS), *arguments)
    status = supervised.until_status(lambda s: s["phase"] == "serving" and not s["workers_coming"])
    assert (status["degraded"], status["failure"]["error"]) == (True, "RuntimeError: the first one fails")
    assert supervised.get("/ping").status == 200
    assert supervised.run("restart", "--worker", str(status["failure"]["worker"])).returncode == 0
    assert supervised.status()["degraded"] is False
    assert supervised.stop() == 0


def test_slow_stop_does_not_shorten_the_startup_timeout(start: Start) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TINY + "server.serve_forever()"
    times = ("--startup-timeout", 3, "--stop-timeout", 3.5)
    supervised = start(*times, "--listener", "inherit", "--", sys.executable, "-c", stubborn)
    supervised.until_phase("serving")
    assert supervised.run("restart").returncode == 0
    assert "was killed by SIGKILL" in supervised.err.read_text()
    os.kill(supervised.process.pid, signal.SIGTERM)
    assert supervised.stop() == 0
