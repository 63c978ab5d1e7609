"""The responses of the error server, without a framework."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drum_supervisor.contract.client_status import ClientStatus
from drum_supervisor.contract.failure_report import Cause, ErrorDetail, FailureReport, write_failure
from drum_supervisor.http.messages import BodyPlan, Request, Response
from drum_supervisor.services.failure import (
    NOT_RETRIED,
    FailureService,
    ReportFile,
    describe_retry,
    prefers_html,
    retry_after,
    retry_entry,
)

REPORT = FailureReport(
    Cause.INIT_FAILED,
    "bad weights <in> file",
    stage="load_model",
    type="ValueError",
    traceback="Traceback ...\nValueError: bad weights",
    attempt=3,
    failed_at=1732240800.0,
)
ERROR = "ValueError: bad weights <in> file"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", ""]
PINGS = ["/", "/ping", "/ping/", "/health", "/health/"]
ALIVE = ["/livez", "/livez/", "/startupz", "/startupz/"]
OTHERS = ["/readyz", "/predict/", "/docs", "/openapi.json", "/ping/x", "//", "/PING", "", "*", "/pin\0g"]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def service_of(report: FailureReport | None = REPORT, **options: Any) -> FailureService:
    return FailureService(lambda: report, **options)


def content_of(response: Response) -> Any:
    assert response.content_type == "application/json"
    return json.loads(response.body)


def page_of(service: FailureService, path: str = "/") -> Response:
    return service.answer(Request("GET", path, headers={"accept": BROWSER}))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*PINGS, *ALIVE])
def test_probes_are_answered_with_200_and_the_error(method, path):
    response = service_of().answer(Request(method, path))
    assert response.status == 200
    assert response.body == (b'{"message": "Error Server Running", "error": "%s"}' % ERROR.encode())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", OTHERS)
def test_everything_else_is_513_with_the_error(method, path):
    response = service_of().answer(Request(method, path))
    assert response.status == 513
    assert response.body == b'{"message": "ERROR: %s"}' % ERROR.encode()


@pytest.mark.parametrize("path", [*PINGS, *ALIVE])
def test_failed_ping_has_a_configurable_status(path):
    response = service_of(failed_ping=503).answer(Request("GET", path))
    assert response.status == (503 if path in PINGS else 200)
    assert content_of(response)["message"] == "Error Server Running"


@pytest.mark.parametrize("path", [*PINGS, *ALIVE, *OTHERS])
def test_every_response_has_the_program_headers(path):
    assert service_of().answer(Request("GET", path)).headers == (
        ("Connection", "close"),
        ("Cache-Control", "no-store"),
        ("X-Drum-Supervisor", "error-server"),
    )


@pytest.mark.parametrize("path", [*PINGS, *OTHERS])
def test_every_body_is_drained(path):
    assert service_of().plan("POST", path) == BodyPlan(keep=0, drain_seconds=30.0)


def test_only_paths_under_the_prefix_are_probes():
    service = service_of(url_prefix="/v1/a")
    for path in ("/v1/a", "/v1/a/", "/v1/a/ping", "/v1/a/ping/", "/v1/a/livez"):
        assert service.answer(Request("GET", path)).status == 200
    for path in ("/", "/ping", "/livez", "/v1", "/v1/aping"):
        assert service.answer(Request("GET", path)).status == 513
    assert page_of(service, "/v1/a/").content_type.startswith("text/html")


@pytest.mark.parametrize("path", ["/ping", "/predict/"])
def test_fixed_sentence_without_detail(path):
    for report in (REPORT, None):
        response = service_of(report, error_detail=ErrorDetail.NONE).answer(Request("GET", path))
        assert b"The model could not be initialized." in response.body
        assert b"weights" not in response.body
        assert set(content_of(response)) <= {"message", "error"}


@pytest.mark.parametrize(("path", "keys"), [("/ping", {"message", "error"}), ("/predict/", {"message"})])
def test_full_detail_adds_stage_type_and_traceback(path, keys):
    content = content_of(service_of(error_detail=ErrorDetail.FULL).answer(Request("GET", path)))
    assert set(content) == keys | {"stage", "type", "traceback"}
    assert (content["stage"], content["type"], content["traceback"]) == ("load_model", "ValueError", REPORT.traceback)


@pytest.mark.parametrize("report", [None, FailureReport(Cause.INIT_FAILED, "")])
@pytest.mark.parametrize("detail", [ErrorDetail.MESSAGE, ErrorDetail.FULL])
def test_missing_reason_is_stated(report, detail):
    content = content_of(service_of(report, error_detail=detail).answer(Request("GET", "/predict/")))
    assert content["message"] == "ERROR: The model could not be initialized; no reason was recorded."


def test_browser_gets_a_page_with_error_stage_and_time():
    response = page_of(service_of())
    page = response.body.decode()
    assert (response.status, response.content_type) == (200, "text/html; charset=utf-8")
    assert response.headers[:3] == service_of().answer(Request("GET", "/ping")).headers
    assert "ValueError: bad weights &lt;in&gt; file" in page
    assert "<dt>Stage</dt><dd>load_model</dd>" in page
    assert "<dt>Since</dt><dd>2024-11-22 02:00:00 UTC</dd>" in page
    assert "<dt>Attempt</dt><dd>3</dd>" in page
    assert "drum-supervise failure" in page
    assert "drum-supervise restart" in page
    assert "Traceback" not in page
    assert "http" not in page  # self-contained


def test_page_has_the_status_of_a_failed_ping():
    assert page_of(service_of(failed_ping=503)).status == 503


def test_page_shows_the_traceback_only_with_full_detail():
    assert "Traceback ...\n" in page_of(service_of(error_detail=ErrorDetail.FULL)).body.decode()


def test_page_without_detail_hides_error_and_stage():
    page = page_of(service_of(error_detail=ErrorDetail.NONE)).body.decode()
    assert "The model could not be initialized." in page
    assert "weights" not in page
    assert "load_model" not in page


@pytest.mark.parametrize("report", [None, replace(REPORT, failed_at=0.0), replace(REPORT, failed_at=1e300, stage="")])
def test_page_with_a_minimal_report(report):
    page = page_of(service_of(report)).body.decode()
    assert ("unknown" in page) == (report is not None)


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("HEAD", "/"), ("GET", "/ping"), ("GET", "/predict/")])
def test_no_page_on_other_paths(method, path):
    response = service_of().answer(Request(method, path, headers={"accept": BROWSER}))
    assert response.content_type == "application/json"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML; q=0.5", True),
        ("text/html, application/xhtml+xml, */*", True),
        ("application/json;q=0.5, text/html", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("application/json, text/html;q=0.9", False),
        ("*/*, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        (";,;q=,,", False),
    ],
)
def test_prefers_html(accept, expected):
    assert prefers_html(accept) is expected


def test_changed_report_file_is_read_again(tmp_path):
    path = tmp_path / "failure.json"
    read = ReportFile(str(path))
    assert read() is None
    write_failure(REPORT, path)
    first = read()
    assert first == REPORT
    assert read() is first
    write_failure(replace(REPORT, attempt=4), path)
    assert read() == replace(REPORT, attempt=4)


@pytest.mark.parametrize(
    "leak",
    [
        {"message": "password=hunter22"},
        {"type": "InvalidPassword", "message": "hunter22"},
        {"type": "InvalidToken", "message": "--password hunter22"},
        {"type": "password=hunter22", "message": ""},
        {"type": "-----BEGIN PRIVATE KEY-----", "message": "hunter22"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/predict/"])
def test_secrets_in_the_report_are_masked(tmp_path, leak, path):
    leaky = replace(REPORT, traceback="token: abcdefgh", **leak)
    write_failure(leaky, tmp_path / "failure.json")
    service = FailureService(ReportFile(str(tmp_path / "failure.json")), error_detail=ErrorDetail.FULL)
    for _ in range(2):
        for response in (service.answer(Request("GET", path)), page_of(service, path)):
            assert b"hunter22" not in response.body
            assert b"abcdefgh" not in response.body


@pytest.mark.parametrize("damage", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_last_good_report_outlives_its_file(tmp_path, damage):
    path = tmp_path / "failure.json"
    write_failure(REPORT, path)
    read = ReportFile(str(path))
    assert read() == REPORT
    damage(path)
    assert read() == REPORT
    write_failure(replace(REPORT, attempt=4), path)
    assert read() == replace(REPORT, attempt=4)


def test_needs_only_the_standard_library():
    program = (
        "import sys; before = set(sys.modules); import drum_supervisor.services.failure; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["drum_supervisor"]


NOW = 1000.0
PLANNED = ClientStatus(failed=True, attempt=1, attempts_left=2, next_at=NOW + 11.2)
UNDER_WAY = ClientStatus(failed=True, attempt=2, attempts_left=1, since=NOW - 3.21, stage="load_model")
NO_RETRIES = ClientStatus(failed=True, attempt=3)
PERMANENT = ClientStatus(failed=True, refused=True)


@pytest.mark.parametrize(
    ("client_status", "retry"),
    [
        (PLANNED, {"attempt": 1, "attempts_left": 2, "next_in_seconds": 12}),
        (UNDER_WAY, {"attempt": 2, "attempts_left": 1, "stage": "load_model", "seconds": 3.2}),
        (PERMANENT, {"attempt": 1, "attempts_left": 0, "message": NOT_RETRIED}),
    ],
)
def test_retry_entry(client_status, retry):
    assert retry_entry(client_status, NOW) == {"retry": retry}


def test_no_retry_entry_without_retries():
    assert retry_entry(NO_RETRIES, NOW) == {}


@pytest.mark.parametrize(
    ("client_status", "headers"),
    [(PLANNED, (("Retry-After", "12"),)), (UNDER_WAY, (("Retry-After", "1"),)), (NO_RETRIES, ()), (PERMANENT, ())],
)
def test_retry_after(client_status, headers):
    assert retry_after(client_status, NOW) == headers


@pytest.mark.parametrize(
    ("client_status", "text"),
    [
        (PLANNED, "attempt 2 in 12 s; 1 left after that"),
        (UNDER_WAY, "attempt 2 is under way for 3 s, now in load_model; 1 left after that"),
        (ClientStatus(since=NOW, attempt=2), "attempt 2 is under way for 0 s; 0 left after that"),
        (NO_RETRIES, ""),
        (PERMANENT, NOT_RETRIED),
    ],
)
def test_describe_retry(client_status, text):
    assert describe_retry(client_status, NOW) == text


def test_retry_times_are_never_negative():
    due = ClientStatus(failed=True, attempts_left=1, next_at=NOW - 5)
    assert retry_entry(due, NOW)["retry"]["next_in_seconds"] == 0
    assert retry_after(due, NOW) == (("Retry-After", "1"),)
    assert retry_entry(ClientStatus(since=NOW + 5), NOW)["retry"]["seconds"] == 0
