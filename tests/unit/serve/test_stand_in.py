"""The responses of the stand-in, without a socket."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.client_status import ClientStatus, ClientStatusFile
from drum_supervisor.contract.failure_report import Cause, ErrorDetail, FailureReport, write_failure
from drum_supervisor.http.h1 import respond
from drum_supervisor.serve.stand_in import Responder
from drum_supervisor.services.failure import FailureService, ReportFile

ROOT = Path(__file__).parents[3]
REPORT = FailureReport(Cause.INIT_FAILED, "bad weights", "load_model", "ValueError", "Traceback ...", failed_at=1e9)
TARGETS = ("/", "/ping", "/ping/", "/livez", "/startupz", "/predict/", "/v1/ping", "/%2Fping", "http://x/livez", "*")


@pytest.fixture
def responder(tmp_path: Path) -> Callable[..., Responder]:
    """Return a factory of responders, which also writes the client status."""

    def make(client_status: ClientStatus | None = None, **options: str) -> Responder:
        if client_status is not None:
            (tmp_path / "situation.json").write_text(client_status.to_json())
        files = {"situation": str(tmp_path / "situation.json"), "report": str(tmp_path / "failure.json")}
        given = {"url_prefix": "", "failed_ping": "200", "error_detail": "message", **files, **options}
        return Responder(given, lambda: 1012.34)

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
def test_every_path_is_503_while_starting(responder, method, target):
    status, headers, content = read(responder()(head(method, target)))
    assert (status, content["message"]) == (503, "ERROR: The model server is starting.")
    assert headers == [
        "Content-Type: application/json",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Drum-Supervisor: stand-in",
        "Retry-After: 1",
    ]


@pytest.mark.parametrize("target", ["/v1/livez", "/v1/livez/", "/v1/livez?x"])
def test_livez_is_200_while_starting(responder, target):
    stand_in = responder(url_prefix="/v1")
    status, headers, content = read(stand_in(head(target=target)))
    assert (status, content["message"]) == (200, "Starting")
    assert not [header for header in headers if header.startswith("Retry-After")]
    assert read(stand_in(head(target="/livez")))[0] == 503


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\0\xff" * 40000, b"GET", b"GET /\r\n\r\n", head("get", "/x " * 9)])
def test_bad_requests_are_503_while_starting(responder, data):
    assert read(responder()(data))[0] == 503


@pytest.mark.parametrize("target", ["/predict/", "/livez"])
def test_response_to_head_has_no_body(responder, target):
    answer = responder()(head("HEAD", target))
    assert answer.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Length: 0\r\n" not in answer


def test_response_has_stage_and_seconds(responder):
    stand_in = responder(ClientStatus(stage="load_model", since=1000.0))
    assert read(stand_in(head()))[2] == {
        "message": "ERROR: The model server is starting.",
        "stage": "load_model",
        "seconds": 12.3,
    }
    responder(ClientStatus(stage="init_app", since=1000.0))
    assert read(stand_in(head(target="/livez")))[2] == {"message": "Starting", "stage": "init_app", "seconds": 12.3}


def test_stop_by_an_operator_is_reported(responder):
    stand_in = responder(ClientStatus(held=True))
    assert read(stand_in(head()))[::2] == (503, {"message": "ERROR: The model server was stopped by an operator."})
    assert read(stand_in(head(target="/livez")))[::2] == (200, {"message": "Stopped by an operator"})


def test_seconds_count_from_its_own_start_without_a_status(responder):
    content = read(responder()(head()))[2]
    assert (content["stage"], content["seconds"]) == ("", 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("options", [{}, {"failed_ping": "503", "error_detail": "full", "url_prefix": "/v1"}], ids=str)
def test_after_a_failure_it_responder_like_the_error_server(responder, tmp_path, method, target, options):
    write_failure(REPORT, tmp_path / "failure.json")
    stand_in = responder(ClientStatus(), **options)
    assert read(stand_in(head()))[0] == 503
    responder(ClientStatus(failed=True))
    service = FailureService(
        ReportFile(str(tmp_path / "failure.json")),
        ErrorDetail(options.get("error_detail", "message")),
        int(options.get("failed_ping", 200)),
        options.get("url_prefix", ""),
        ClientStatusFile(str(tmp_path / "situation.json")),
    )
    received = head(method, target, "Accept: text/html")
    assert without_date(stand_in(received)) == without_date(respond(service, received))


def without_date(answer: bytes) -> list[bytes]:
    return [line for line in answer.split(b"\r\n") if not line.startswith(b"Date: ")]


@pytest.mark.parametrize(("data", "status"), [(b"nonsense\r\n\r\n", 400), (head("GET", "/", "x" * 70000), 431)])
def test_after_a_failure_bad_requests_are_refused(responder, data, status):
    assert read(responder(ClientStatus(failed=True))(data))[0] == status


def test_attempt_under_way_is_reported(responder):
    content = read(
        responder(ClientStatus(failed=True, since=1.0, attempt=2, attempts_left=1))(head("POST", "/predict/"))
    )[2]
    assert (content["retry"]["attempt"], content["retry"]["attempts_left"]) == (2, 1)


def test_nothing_large_is_loaded_before_the_first_response():
    program = "import sys, drum_supervisor.serve.stand_in; print(*sys.modules)"
    argv = [sys.executable, "-S", "-c", program]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    large = {"asyncio", "http", "logging", "pathlib", "threading", "typing", "urllib"}
    assert not large & set(loaded)
    assert {name for name in loaded if name.startswith("drum_supervisor.")} <= {
        "drum_supervisor.contract",
        "drum_supervisor.contract.changed_file",
        "drum_supervisor.contract.fds",
        "drum_supervisor.contract.client_status",
        "drum_supervisor.servers",
        "drum_supervisor.servers.acceptor",
        "drum_supervisor.servers.standin_server",
        "drum_supervisor.serve",
        "drum_supervisor.serve.stand_in",
    }


def test_slow_imports_are_preloaded(responder, monkeypatch):
    prepared = []
    monkeypatch.setattr("drum_supervisor.contract.masking.compile_patterns", lambda: prepared.append(True))
    responder().load()
    assert prepared
