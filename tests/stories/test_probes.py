"""The table of docs/kubernetes.md, the answer to each probe in each phase, against a real supervisor."""

import http.client
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stories.conftest import Start
from tests.support import TIMEOUT, Supervised

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
PROBES = ("/startupz", "/livez", "/readyz")
ROW = re.compile(r"^\| (\w+) \| (\d+|none) \| (\d+|none) \| (\d+|none) \|", re.MULTILINE)

MODEL = """
import pathlib
HERE = pathlib.Path(__file__).parent
def load_model(code_dir):
    word = (HERE / "gate").read_text()
    if word != "good":
        raise OSError(word)
    return 1
def score_unstructured(model, data, **kwargs):
    (HERE / "begun").write_text((HERE / "gate").read_text())
    return data
"""


def promised() -> dict[str, tuple[str, ...]]:
    return {phase: tuple(statuses) for phase, *statuses in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def answers(supervised: Supervised, seconds: float) -> tuple[str, ...]:
    """Return the status of each probe, "none" for one without an answer."""
    return tuple(_status(supervised, path, seconds) for path in PROBES)


def _status(supervised: Supervised, path: str, seconds: float) -> str:
    connection = http.client.HTTPConnection("test")
    connection.sock = supervised.connect()
    connection.sock.settimeout(seconds)
    try:
        connection.request("GET", path)
        return str(connection.getresponse().status)
    except OSError:
        return "none"
    finally:
        connection.close()


@pytest.mark.parametrize("server_type", ["fastapi", "flask", "gunicorn"])
def test_probe_answers_match_the_page(start: Start, model, fifo, server_type: str) -> None:
    table = promised()
    assert list(table) == ["starting", "serving", "failed", "retrying", "stopping"]
    folder: Path = model(MODEL)
    gate = fifo("model/gate")
    supervised = start(
        *("--code-dir", folder, "--target-type", "unstructured", "--server-type", server_type),
        *("--profile", "kubernetes", "--max-retries", "1", "--retry-interval", "1000"),
    )

    def is_as_promised(phase: str) -> None:
        supervised.until_phase(phase)
        seconds = TIMEOUT if phase != "stopping" else 0.3
        supervised.until(
            lambda: answers(supervised, seconds) == table[phase]
        )  # the previous program may still be stopping

    is_as_promised("starting")
    gate.write_text("no weights")
    is_as_promised("failed")
    failure = supervised.get("/predict").json()
    assert (failure["message"], failure["retry"]["attempts_left"]) == ("ERROR: OSError: no weights", 1)
    supervised.client.restart()
    is_as_promised("retrying")
    gate.write_text("good")
    is_as_promised("serving")
    is_as_promised_while_it_drains(supervised, gate, is_as_promised)


def is_as_promised_while_it_drains(supervised: Supervised, gate: Path, check: Callable[[str], None]) -> None:
    """Check while a request in flight keeps the model server from stopping."""
    request = threading.Thread(target=supervised.post, args=("/invocations", b"x", "text/plain"))
    request.start()
    with open(gate, "w") as word:  # the request has begun
        supervised.process.terminate()
        check("stopping")
        word.write("good")
    request.join()
    assert supervised.wait() == 0
