"""The failure service: the responses once initialization has failed.

Standard library only, and quick to import: it must work when nothing else does.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drum_supervisor.contract.changed_file import ChangedFile
from drum_supervisor.contract.client_status import PROGRAM_HEADER, ClientStatus
from drum_supervisor.contract.failure_report import ErrorDetail, FailureReport, read_failure
from drum_supervisor.http.messages import CLOSE, BodyPlan, Headers, Request, Response, json_response
from drum_supervisor.services.failure_page import PAGE_POLICY, format_utc, prefers_html, render_page
from drum_supervisor.services.routes import slash_forms

NOT_INITIALIZED = "The model could not be initialized."
NO_REASON = "The model could not be initialized; no reason was recorded."
NOT_RETRIED = "not retried: it would only fail again; repair it, then run drum-supervise restart"
ALIVE = "Error Server Running"

# Not a registered status: DRUM uses it for a failed initialization, and its clients expect it.
FAILED = 513

_PING_PATHS = ("/", "/ping", "/health")
_DRAIN_SECONDS = 30.0
_RETRY_SOON = 1  # seconds; the duration of an attempt is unknown


class FailureService:
    """Answers probes, and everything else with the failure.

    Args:
        read_report: returns the masked failure report; None if it is missing or unreadable.
        error_detail: how much of the report clients see.
        failed_ping: status of `/`, `/ping` and `/health`.
        url_prefix: prefix of the probe paths.
        read_client_status: returns what clients may know about retries.
    """

    def __init__(
        self,
        read_report: Callable[[], FailureReport | None],
        error_detail: ErrorDetail = ErrorDetail.MESSAGE,
        failed_ping: int = 200,
        url_prefix: str = "",
        read_client_status: Callable[[], ClientStatus] = ClientStatus,
    ) -> None:
        self._read_report = read_report
        self._read_client_status = read_client_status
        self._error_detail = error_detail
        self._root = slash_forms(url_prefix, "/")
        self._probes = {form: failed_ping for path in _PING_PATHS for form in slash_forms(url_prefix, path)}
        self._probes |= {form: 200 for path in ("/livez", "/startupz") for form in slash_forms(url_prefix, path)}

    def plan(self, method: str, path: str) -> BodyPlan:
        """Discard every body, but read it: clients read the response only after sending."""
        return BodyPlan(drain_seconds=_DRAIN_SECONDS)

    def answer(self, request: Request) -> Response:
        """Answer probes with their status, and any other path with 513, whatever the method."""
        report = self._read_report()
        status = self._probes.get(request.path)
        if status is None:
            client_status, now = self._read_client_status(), time.monotonic()
            content = {
                "message": f"ERROR: {self._message(report)}",
                **retry_entry(client_status, now),
                **self._detail_fields(report),
            }
            return json_response(FAILED, content, (*program_headers("error-server"), *retry_after(client_status, now)))
        if request.method == "GET" and request.path in self._root and prefers_html(request.headers.get("accept", "")):
            return self._build_page(status, report)
        content = {"message": ALIVE, "error": self._message(report), **self._detail_fields(report)}
        return json_response(status, content, program_headers("error-server"))

    def _message(self, report: FailureReport | None) -> str:
        if self._error_detail is ErrorDetail.NONE:
            return NOT_INITIALIZED
        return (report.error if report else "") or NO_REASON

    def _detail_fields(self, report: FailureReport | None) -> dict[str, Any]:
        if self._error_detail is not ErrorDetail.FULL or report is None:
            return {}
        return {"stage": report.stage, "type": report.type, "traceback": report.traceback}

    def _build_page(self, status: int, report: FailureReport | None) -> Response:
        facts = [] if report is None else [("Since", format_utc(report.failed_at)), ("Attempt", str(report.attempt))]
        if report is not None and self._error_detail is not ErrorDetail.NONE:
            facts.insert(0, ("Stage", report.stage or "unknown"))
        if retry := describe_retry(self._read_client_status(), time.monotonic()):
            facts.append(("Retry", retry))
        page = render_page(self._message(report), facts, self._detail_fields(report).get("traceback", ""))
        headers = (*program_headers("error-server"), ("Content-Security-Policy", PAGE_POLICY))
        return Response(status, page.encode("utf-8"), "text/html; charset=utf-8", headers)


class ReportFile(ChangedFile):
    _report: FailureReport | None = None

    def __call__(self) -> FailureReport | None:
        """Return the masked report, or the last good one while the file is missing or invalid."""
        self.refresh()
        return self._report

    def _read(self) -> bool:
        report = read_failure(Path(self._path))
        self._report = self._report if report is None else report.masked()
        return report is not None


def program_headers(program: str) -> Headers:
    """Return the headers of a response which is not the model's: close the connection, store nothing."""
    return (*CLOSE, ("Cache-Control", "no-store"), (PROGRAM_HEADER, program))


def retry_entry(client_status: ClientStatus, now: float) -> dict[str, Any]:
    """Return the `retry` entry of a body; empty without retries."""
    attempts = {"attempt": client_status.attempt, "attempts_left": client_status.attempts_left}
    if client_status.since:
        under_way = {"stage": client_status.stage, "seconds": round(max(now - client_status.since, 0.0), 1)}
        return {"retry": {**attempts, **under_way}}
    if client_status.next_at:
        return {"retry": {**attempts, "next_in_seconds": _seconds_to_retry(client_status, now)}}
    if client_status.refused:
        return {"retry": {**attempts, "message": NOT_RETRIED}}
    return {}


def retry_after(client_status: ClientStatus, now: float) -> Headers:
    """Return the `Retry-After` header; empty without retries."""
    if client_status.since:
        return (("Retry-After", str(_RETRY_SOON)),)
    if client_status.next_at:
        return (("Retry-After", str(max(_seconds_to_retry(client_status, now), _RETRY_SOON))),)
    return ()


def describe_retry(client_status: ClientStatus, now: float) -> str:
    """Return the line about retries on the page; empty without retries."""
    left = f"{client_status.attempts_left} left after that"
    if client_status.since:
        where = f", now in {client_status.stage}" if client_status.stage else ""
        seconds = max(now - client_status.since, 0.0)
        return f"attempt {client_status.attempt} is under way for {seconds:.0f} s{where}; {left}"
    if client_status.next_at:
        left = f"{client_status.attempts_left - 1} left after that"
        return f"attempt {client_status.attempt + 1} in {_seconds_to_retry(client_status, now)} s; {left}"
    return NOT_RETRIED if client_status.refused else ""


def _seconds_to_retry(client_status: ClientStatus, now: float) -> int:
    return max(math.ceil(client_status.next_at - now), 0)
