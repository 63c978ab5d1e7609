"""Memory that runs out, for real: a control group of the kernel with a limit, and a model that takes more."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.unit.control_groups import MIB, new_group, own_directory

LIMIT = 400
EATS = """
import pathlib
def eat():
    kept = []
    while True:
        kept.append(bytearray(8 * 1024 * 1024))
def load_model(code_dir):
    if (pathlib.Path(code_dir) / "hungry").exists():
        eat()
    return 1
def score_unstructured(model, data, **kwargs):
    if data == "eat":
        eat()
    return data
"""


@pytest.fixture
def limited() -> Iterator[Callable[[], None]]:
    """A group with a limit; what is given moves the process that calls it there."""
    with new_group(own_directory("memory")) as group:
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            if (group / name).exists():
                (group / name).write_text(str(LIMIT * MIB))
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))


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
