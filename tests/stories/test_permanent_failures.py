"""Permanent failures, which a retry would only repeat, are not retried."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.services.failure import NOT_RETRIED
from tests.stories.conftest import Start
from tests.support import Supervised

SCORE = "def score_unstructured(model, data, **kwargs): return 'fine'\n"
GOOD = SCORE + "def load_model(code_dir): return 1\n"
RETRIES = ("--max-retries", 3, "--retry-interval", 0.1)
UNSTRUCTURED = ("--target-type", "unstructured", *RETRIES)
BROKEN = {
    "syntax": ("def load_model(:\n", "SyntaxError: "),
    "indentation": ("def load_model(code_dir):\nreturn 1\n", "IndentationError: "),
    "module": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax of what it imports": ("import broken\n", "SyntaxError: "),
    "no hook": ("def load_model(code_dir): return 1\n", "no score_unstructured"),
}


def error_server_is_ready(status: dict[str, Any]) -> bool:
    # a command that binds the address itself leaves it closed until the error server is ready
    states = {program["name"]: program["state"] for program in status["programs"]}
    return status["phase"] == "failed" and states.get("error-server") == "ready"


def permanent_error(supervised: Supervised) -> str:
    """Assert that nothing is retried, and that status, answer and report agree; return the error."""
    status = supervised.until_status(error_server_is_ready)
    assert (status["attempt"], status["attempts_left"], status["next_retry_at"]) == (1, 0, None)
    assert status["failure"]["permanent"] is True
    answer = supervised.get("/x")
    assert answer.status == 513
    assert answer.json()["retry"] == {"attempt": 1, "attempts_left": 0, "message": NOT_RETRIED}
    assert "retry-after" not in answer.headers
    assert "not retried: it would only fail again" in supervised.run("status").stdout
    assert "repair it, then run drum-supervise restart" in supervised.run("failure").stdout
    return str(status["failure"]["error"])


@pytest.mark.parametrize("code", BROKEN)
def test_broken_code_is_retried_only_on_request(start: Start, model: Callable[[str], Path], code: str) -> None:
    custom, error = BROKEN[code]
    folder = model(custom)
    (folder / "broken.py").write_text("1 +\n")
    supervised = start("--code-dir", folder, *UNSTRUCTURED)
    assert error in permanent_error(supervised)
    assert supervised.run("restart").returncode == 3
    assert supervised.status()["attempts_left"] == 0
    (folder / "custom.py").write_text(GOOD)
    assert supervised.run("restart").returncode == 0
    assert supervised.post("/invocations", b"x", "text/plain").body == b"fine"
    assert supervised.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--code-dir", "/no/such/folder", "--target-type", "unstructured"), "does not exist"),
        (("--code-dir", "{model}", "--target-type", "binary", "--positive-class-label", "yes"), "both class labels"),
        (("--", "no-such-command"), "can't find command 'no-such-command'"),
        (("--listener", "inherit", "--", sys.executable, "-c", "1 +"), "SyntaxError: invalid syntax"),
    ],
    ids=["no folder", "no label", "no command", "syntax of a command"],
)
def test_bad_configuration_is_not_retried(
    start: Start, model: Callable[[str], Path], reserved_port: int, arguments: tuple[str, ...], error: str
) -> None:
    given = [argument.format(model=model(GOOD)) if "{model}" in argument else argument for argument in arguments]
    supervised = start(*RETRIES, "--address", f"127.0.0.1:{reserved_port}", *given)
    assert error in permanent_error(supervised)
    assert supervised.stop() == 0


def test_retry_permanent_retries_it(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(BROKEN["module"][0])
    supervised = start("--code-dir", folder, *UNSTRUCTURED[:2], "--max-retries", 50, "--retry-permanent", *RETRIES[2:])
    supervised.until_phase("failed", "retrying")
    (folder / "no_such_module.py").write_text("")
    (folder / "custom.py").write_text("import no_such_module\n" + GOOD)
    assert supervised.until_phase("serving")["restarts"]["retry"] >= 1
    assert supervised.stop() == 0


def test_transient_failure_is_retried_and_says_when(start: Start, model: Callable[[str], Path]) -> None:
    never = SCORE + "def load_model(code_dir): raise OSError('the disk is not there')\n"
    supervised = start("--code-dir", model(never), "--target-type", "unstructured", "--max-retries", 2)
    supervised.until_phase("failed")
    answer = supervised.get("/x")
    retry = answer.json()["retry"]
    assert (retry["attempt"], retry["attempts_left"]) == (1, 2)
    assert 0 < retry["next_in_seconds"] <= 11
    assert answer.headers["retry-after"] == str(retry["next_in_seconds"])
    assert supervised.status()["failure"]["permanent"] is False
    assert supervised.stop() == 0


def test_without_retries_the_answer_is_only_the_error(start: Start, model: Callable[[str], Path]) -> None:
    supervised = start("--code-dir", model(BROKEN["module"][0]), "--target-type", "unstructured")
    supervised.until_phase("failed")
    answer = supervised.get("/x")
    assert answer.body == b'{"message": "ERROR: ModuleNotFoundError: No module named \'no_such_module\'"}'
    assert "retry-after" not in answer.headers
    assert supervised.stop() == 0
