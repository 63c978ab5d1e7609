"""The responses of the stand-in, without HTTP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.client_status import ClientStatus, ClientStatusFile
from drum_supervisor.contract.failure_report import Cause, ErrorDetail, FailureReport, write_failure
from drum_supervisor.http.messages import Request, Response
from drum_supervisor.services.failure import FailureService, ReportFile
from drum_supervisor.services.starting import StartingService

REPORT = FailureReport(Cause.INIT_FAILED, "bad weights", "load_model", "ValueError", "Traceback ...", failed_at=1e9)
PATHS = ("/", "/ping", "/ping/", "/livez", "/startupz", "/predict/", "/v1/ping", "//ping", "*")
OTHERS = {"failed_ping": 503, "error_detail": ErrorDetail.FULL, "url_prefix": "/v1"}


@pytest.fixture
def failure(tmp_path: Path) -> Callable[..., FailureService]:
    """Return a factory of the error server's services."""

    def make(failed_ping: int = 200, error_detail: ErrorDetail = ErrorDetail.MESSAGE, url_prefix: str = ""):
        report, client_status = (
            ReportFile(tmp_path / "failure.json"),
            ClientStatusFile(str(tmp_path / "situation.json")),
        )
        return FailureService(report, error_detail, failed_ping, url_prefix, client_status)

    return make


@pytest.fixture
def starting(tmp_path: Path, failure: Callable[..., FailureService]) -> Callable[..., StartingService]:
    """Return a factory of services, which also writes the client status."""

    def make(client_status: ClientStatus | None = None, **options: Any) -> StartingService:
        if client_status is not None:
            (tmp_path / "situation.json").write_text(client_status.to_json())
        read_client_status = ClientStatusFile(str(tmp_path / "situation.json"))
        return StartingService(failure(**options), read_client_status, options.get("url_prefix", ""), lambda: 1012.34)

    return make


def read(response: Response) -> tuple[int, dict[str, str], Any]:
    return response.status, dict(response.headers), json.loads(response.body)


def get(service: StartingService, path: str = "/") -> tuple[int, dict[str, str], Any]:
    return read(service.answer(Request("GET", path)))


def test_body_is_not_waited_for(starting):
    assert starting().plan("POST", "/predict/").drain_seconds == 0


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", [*PATHS[:3], "/startupz", "/readyz", "/predict/", "/livez/x", "*"])
def test_every_path_is_503_while_starting(starting, method, path):
    response = starting().answer(Request(method, path, "a=b"))
    status, headers, content = read(response)
    assert (status, content["message"]) == (503, "ERROR: The model server is starting.")
    assert response.content_type == "application/json"
    assert headers == {
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Drum-Supervisor": "stand-in",
        "Retry-After": "1",
    }


@pytest.mark.parametrize("path", ["/v1/livez", "/v1/livez/"])
def test_livez_is_200_while_starting(starting, path):
    service = starting(url_prefix="/v1")
    status, headers, content = get(service, path)
    assert (status, content["message"]) == (200, "Starting")
    assert "Retry-After" not in headers
    assert get(service, "/livez")[0] == 503


def test_response_has_stage_and_seconds(starting):
    service = starting(ClientStatus(stage="load_model", since=1000.0))
    assert get(service)[2] == {
        "message": "ERROR: The model server is starting.",
        "stage": "load_model",
        "seconds": 12.3,
    }
    starting(ClientStatus(stage="init_app", since=1000.0))
    assert get(service, "/livez")[2] == {"message": "Starting", "stage": "init_app", "seconds": 12.3}


def test_stop_by_an_operator_is_reported(starting):
    service = starting(ClientStatus(held=True))
    assert get(service)[::2] == (503, {"message": "ERROR: The model server was stopped by an operator."})
    assert get(service, "/livez")[::2] == (200, {"message": "Stopped by an operator"})


def test_seconds_count_from_its_own_start_without_a_status(starting):
    content = get(starting())[2]
    assert (content["stage"], content["seconds"]) == ("", 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("options", [{}, OTHERS], ids=str)
def test_after_a_failure_it_answers_like_the_error_server(starting, failure, tmp_path, method, path, options):
    write_failure(REPORT, tmp_path / "failure.json")
    service = starting(ClientStatus(), **options)
    assert get(service)[0] == 503
    starting(ClientStatus(failed=True))
    request = Request(method, path, headers={"accept": "text/html"})
    assert service.answer(request) == failure(**options).answer(request)


def test_attempt_under_way_is_reported(starting):
    content = get(starting(ClientStatus(failed=True, since=1.0, attempt=2, attempts_left=1)), "/predict/")[2]
    assert (content["retry"]["attempt"], content["retry"]["attempts_left"]) == (2, 1)
