"""What the stand-in answers: a head in, a whole answer out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.client_status import Situation, SituationFile
from drum_supervisor.contract.failure_report import Cause, ErrorDetail, FailureReport, write_failure
from drum_supervisor.serve.stand_in import Answers
from drum_supervisor.servers.selector_server import answered
from drum_supervisor.services.failure import FailureService, ReportFile

ROOT = Path(__file__).parents[3]
REPORT = FailureReport(Cause.INIT_FAILED, "bad weights", "load_model", "ValueError", "Traceback ...", failed_at=1e9)
TARGETS = ("/", "/ping", "/ping/", "/livez", "/startupz", "/predict/", "/v1/ping", "/%2Fping", "http://x/livez", "*")


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., Answers]:
    """Return the answers of a stand-in, in a situation, to a failure if there is one."""

    def make(situation: Situation | None = None, **options: str) -> Answers:
        if situation is not None:
            (tmp_path / "situation.json").write_text(situation.to_text())
        files = {"situation": str(tmp_path / "situation.json"), "report": str(tmp_path / "failure.json")}
        given = {"url_prefix": "", "failed_ping": "200", "error_detail": "message", **files, **options}
        return Answers(given, lambda: 1012.34)

    return make


def head(method: str = "GET", target: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def read(answer: bytes) -> tuple[int, list[str], Any]:
    """Return status, headers without Date and Content-Length, and content."""
    first, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = first.decode().split("\r\n")
    assert f"Content-Length: {len(body)}" in headers
    kept = [header for header in headers if not header.startswith(("Date: ", "Content-Length: "))]
    return int(status.split()[1]), kept, json.loads(body)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "BREW"])
@pytest.mark.parametrize("target", [*TARGETS[:3], "/startupz", "/readyz", "/predict/?a=b", "/livez/x", "*"])
def test_while_starting_everything_has_to_wait(answers, method, target):
    status, headers, content = read(answers()(head(method, target)))
    assert (status, content["message"]) == (503, "ERROR: The model server is starting.")
    assert headers == [
        "Content-Type: application/json",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Drum-Supervisor: stand-in",
        "Retry-After: 1",
    ]


@pytest.mark.parametrize("target", ["/v1/livez", "/v1/livez/", "/v1/livez?x"])
def test_while_starting_it_is_alive(answers, target):
    stand_in = answers(url_prefix="/v1")
    status, headers, content = read(stand_in(head(target=target)))
    assert (status, content["message"]) == (200, "Starting")
    assert not [header for header in headers if header.startswith("Retry-After")]
    assert read(stand_in(head(target="/livez")))[0] == 503


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\0\xff" * 40000, b"GET", b"GET /\r\n\r\n", head("get", "/x " * 9)])
def test_while_starting_whatever_comes_has_to_wait(answers, data):
    assert read(answers()(data))[0] == 503


@pytest.mark.parametrize("target", ["/predict/", "/livez"])
def test_an_answer_to_head_has_no_body(answers, target):
    answer = answers()(head("HEAD", target))
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0\r\n" not in answer


def test_it_tells_how_far_the_model_server_is_and_since_when(answers):
    stand_in = answers(Situation(stage="load_model", since=1000.0))
    assert read(stand_in(head()))[2] == {
        "message": "ERROR: The model server is starting.",
        "stage": "load_model",
        "seconds": 12.3,
    }
    answers(Situation(stage="init_app", since=1000.0))
    assert read(stand_in(head(target="/livez")))[2] == {"message": "Starting", "stage": "init_app", "seconds": 12.3}


def test_a_stop_by_an_operator_is_told_as_such(answers):
    stand_in = answers(Situation(held=True))
    assert read(stand_in(head()))[::2] == (503, {"message": "ERROR: The model server was stopped by an operator."})
    assert read(stand_in(head(target="/livez")))[::2] == (200, {"message": "Stopped by an operator"})


def test_without_a_situation_it_knows_since_when_it_answers_itself(answers):
    content = read(answers()(head()))[2]
    assert (content["stage"], content["seconds"]) == ("", 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("options", [{}, {"failed_ping": "503", "error_detail": "full", "url_prefix": "/v1"}], ids=str)
def test_once_failed_it_answers_like_the_error_server(answers, tmp_path, method, target, options):
    write_failure(REPORT, tmp_path / "failure.json")
    stand_in = answers(Situation(), **options)
    assert read(stand_in(head()))[0] == 503
    answers(Situation(failed=True))
    service = FailureService(
        ReportFile(tmp_path / "failure.json"),
        ErrorDetail(options.get("error_detail", "message")),
        int(options.get("failed_ping", 200)),
        options.get("url_prefix", ""),
        SituationFile(str(tmp_path / "situation.json")),
    )
    asked = head(method, target, "Accept: text/html")
    assert without_date(stand_in(asked)) == without_date(answered(service, asked))


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date: ")]


@pytest.mark.parametrize(("data", "status"), [(b"nonsense\r\n\r\n", 400), (head("GET", "/", "x" * 70000), 431)])
def test_once_failed_what_is_no_request_is_refused(answers, data, status):
    assert read(answers(Situation(failed=True))(data))[0] == status


def test_when_the_next_attempt_is_under_way_in_its_place_it_says_so(answers):
    content = read(answers(Situation(failed=True, since=1.0, attempt=2, attempts_left=1))(head("POST", "/predict/")))[2]
    assert (content["retry"]["attempt"], content["retry"]["attempts_left"]) == (2, 1)


def test_it_loads_nothing_large_before_its_first_answer():
    program = "import sys, drum_supervisor.serve.stand_in; print(*sys.modules)"
    argv = [sys.executable, "-S", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    large = {"asyncio", "http", "logging", "pathlib", "threading", "typing", "urllib"}
    assert not large & set(loaded)
    assert {name for name in loaded if name.startswith("drum_supervisor.")} <= {
        "drum_supervisor.contract",
        "drum_supervisor.contract.fds",
        "drum_supervisor.contract.client_status",
        "drum_supervisor.servers",
        "drum_supervisor.servers.acceptor",
        "drum_supervisor.servers.standin_server",
        "drum_supervisor.serve",
        "drum_supervisor.serve.stand_in",
    }


def test_what_takes_long_in_the_first_answer_to_a_failure_is_done_ahead(answers, monkeypatch):
    prepared = []
    monkeypatch.setattr("drum_supervisor.contract.masking.prepare", lambda: prepared.append(True))
    answers().load()
    assert prepared
