"""Broken models under each built-in server: the error server, or the last log line, gives the true reason."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import Supervised

SERVERS = ("fastapi", "flask", "gunicorn")
GOOD = "def score_unstructured(model, data, **kwargs): return 'fine'\n"
LOAD = GOOD + "def load_model(code_dir):\n    "


@dataclass(frozen=True)
class Broken:
    """A broken model: its custom.py, part of the reported error, and the exit code without error server."""

    custom: str
    error: str
    code: int = 3
    arguments: tuple[str, ...] = ("--target-type", "unstructured")


def loading(statement: str, error: str, code: int = 3, modules: str = "", options: tuple[str, ...] = ()) -> Broken:
    """Return a model whose load_model executes this statement."""
    return Broken(f"{modules}\n{LOAD}{statement}", error, code, ("--target-type", "unstructured", *options))


KINDS = {
    "exception in load_model": loading("raise RuntimeError('corrupt weights')", "RuntimeError: corrupt weights"),
    "exception in init": Broken(
        GOOD + "def load_model(d): return 1\ndef init(code_dir): raise KeyError('token')", "KeyError: 'token'"
    ),
    "exception at import": Broken("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax error": Broken("def load_model(:", "SyntaxError: invalid syntax"),
    "missing file": loading("return open('/nonexistent/weights')", "No such file or directory: '/nonexistent/weights'"),
    "None returned": loading("return None", "returned None"),
    "sys.exit": loading("sys.exit(7)", "the model called sys.exit(7)", modules="import sys"),
    "os._exit": loading("os._exit(9)", "exited with status 9 before it was ready", modules="import os"),
    "segmentation fault": loading(
        "ctypes.string_at(0)", "was killed by SIGSEGV before it was ready", 139, modules="import ctypes"
    ),
    "SIGKILL": loading(
        "os.kill(os.getpid(), 9)", "was killed by SIGKILL before it was ready", 137, modules="import os"
    ),
    "hanging": loading(
        "threading.Event().wait()",
        "was not ready within 2 s, still in load_model",
        4,
        modules="import threading",
        options=("--startup-timeout", "2"),
    ),
    "unknown target type": Broken(LOAD + "return 1", "Target type 'texttospeech'", 3, ()),
    "binary without labels": Broken(LOAD + "return 1", "needs both class labels", 3, ("--target-type", "binary")),
}


@pytest.fixture
def broken(model: Callable[[str], Path]) -> Callable[[str], tuple[str, ...]]:
    """Make a broken model; return the arguments that start it."""

    def make(kind: str) -> tuple[str, ...]:
        folder = model(KINDS[kind].custom)
        if kind == "unknown target type":
            (folder / "model-metadata.yaml").write_text("targetType: texttospeech\n")
        return ("--code-dir", str(folder), *KINDS[kind].arguments)

    return make


def assert_serves_the_reason(supervised: Supervised, error: str) -> None:
    supervised.until_phase("failed")
    answer = supervised.post("/predict/", b"a,b\n1,2\n")
    assert answer.status == 513
    assert error in answer.json()["message"]
    assert answer.json()["message"].startswith("ERROR: ")
    ping = supervised.get("/ping")
    assert (ping.status, ping.json()["message"]) == (200, "Error Server Running")
    assert error in ping.json()["error"]
    shown = supervised.run("failure", "--json")
    assert error in json.loads(shown.stdout)["error"]
    assert supervised.run("status").returncode == 3
    assert supervised.stop() == 0


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_error_server_gives_the_true_reason(
    start: Start, broken: Callable[[str], tuple[str, ...]], kind: str, server: str
) -> None:
    assert_serves_the_reason(start(*broken(kind), "--server-type", server), KINDS[kind].error)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_without_error_server_the_last_line_is_the_reason(
    start: Start, broken: Callable[[str], tuple[str, ...]], kind: str, server: str, tmp_path: Path
) -> None:
    termination_log = tmp_path / "termination-log"
    termination_log.write_text("from before")
    supervised = start(
        *broken(kind), "--server-type", server, "--no-error-server", "--termination-log", termination_log
    )
    code = supervised.wait()
    # gunicorn's master survives a worker that dies of a signal
    assert code == (3 if server == "gunicorn" and KINDS[kind].code > 128 else KINDS[kind].code), supervised.output()
    assert KINDS[kind].error in supervised.last_line
    assert supervised.last_line == f"drum-supervise: exit {code}: {termination_log.read_text()}"


@pytest.mark.parametrize("server", SERVERS)
def test_two_failed_workers_end_in_one_error_server(
    start: Start, broken: Callable[[str], tuple[str, ...]], server: str
) -> None:
    supervised = start(*broken("exception in load_model"), "--server-type", server, "--workers", 2)
    assert_serves_the_reason(supervised, "corrupt weights")


def test_missing_empty_and_ambiguous_model_folders(start: Start, tmp_path: Path) -> None:
    empty, two = tmp_path / "empty", tmp_path / "two"
    empty.mkdir()
    for name in ("a", "b"):
        (two / name).mkdir(parents=True)
        (two / name / "custom.py").write_text(GOOD)
    errors = {tmp_path / "nowhere": "does not exist", empty: "is empty", two: "More than one custom.py"}
    for folder, sentence in errors.items():
        supervised = start("--code-dir", folder, "--target-type", "unstructured")
        assert_serves_the_reason(supervised, sentence)


def test_failure_report_is_complete(start: Start, broken: Callable[[str], tuple[str, ...]]) -> None:
    supervised = start(*broken("exception in load_model"))
    supervised.until_phase("failed")
    report = json.loads(supervised.run("failure", "--json").stdout)
    assert (report["stage"], report["type"], report["attempt"], report["worker"]) == (
        "load_model",
        "RuntimeError",
        1,
        1,
    )
    assert 'custom.py", line 4, in load_model' in report["traceback"]
    assert report["pid"] > 0
    assert report["failed_at"] >= report["started_at"] > 0
    assert (supervised.run_dir / "failure.json").stat().st_mode & 0o777 == 0o600
    text = supervised.run("failure").stdout
    assert text.startswith("RuntimeError: corrupt weights\n")
    supervised.stop()
    after = supervised.run("failure")
    assert after.stdout == text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_the_model_loads_ends_at_once(
    start: Start, broken: Callable[[str], tuple[str, ...]], number: int
) -> None:
    supervised = start(*broken("hanging"), "--startup-timeout", "600")
    supervised.until_status(lambda s: s["stage"] == "load_model")
    assert supervised.stop(number) == 0


def test_secrets_are_masked_everywhere(start: Start, model: Callable[[str], Path]) -> None:
    folder = model(LOAD + "raise RuntimeError('no access: password=hunter2hunter2, key AKIAABCDEFGHIJKLMNOP')")
    supervised = start(
        "--code-dir", folder, "--target-type", "unstructured", "--error-detail", "full", TOKEN="hidden-token-value"
    )
    supervised.until_phase("failed")
    texts = (
        supervised.get("/x").body,
        (supervised.run_dir / "failure.json").read_bytes(),
        supervised.run("failure").stdout.encode(),
    )
    for text in texts:
        assert b"no access" in text
        assert not any(secret in text for secret in (b"hunter2", b"AKIAABCDE", b"hidden-token-value"))
    supervised.stop()
