"""The failure service: what the error server answers once initialization has failed.

Standard library only, and quick to import: it must come up when nothing else does.
"""

import html
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drum_supervisor.contract.client_status import PROGRAM_HEADER, Situation
from drum_supervisor.contract.failure_report import ErrorDetail, FailureReport, read_failure
from drum_supervisor.http.messages import CLOSE, Headers, Plan, Request, Response, json_response
from drum_supervisor.services.routes import both_forms

NOT_INITIALIZED = "The model could not be initialized."
NO_REASON = "The model could not be initialized; no reason was recorded."
ALIVE = "Error Server Running"

# 513 is no registered status; DRUM answers it for an initialization that failed, and its clients know it.
FAILED = 513

_PING_PATHS = ("/", "/ping", "/health")
_DRAIN_SECONDS = 30.0


class FailureService:
    """Answers probes, and everything else with the failure.

    Args:
        read_report: returns the failure report, masked already, or None when there is none that can be read.
        error_detail: how much of it clients see.
        failed_ping: status of `/`, `/ping` and `/health`.
        url_prefix: prefix of the paths that are probes.
        read_situation: returns what is known of further attempts.
    """

    def __init__(
        self,
        read_report: Callable[[], FailureReport | None],
        error_detail: ErrorDetail = ErrorDetail.MESSAGE,
        failed_ping: int = 200,
        url_prefix: str = "",
        read_situation: Callable[[], Situation] = Situation,
    ) -> None:
        self._read_report = read_report
        self._read_situation = read_situation
        self._detail = error_detail
        self._root = both_forms(url_prefix, "/")
        self._probes = {form: failed_ping for path in _PING_PATHS for form in both_forms(url_prefix, path)}
        self._probes |= {form: 200 for path in ("/livez", "/startupz") for form in both_forms(url_prefix, path)}

    def plan(self, method: str, path: str) -> Plan:
        """Drain every body unread, so that clients get to read the answer."""
        return Plan(drain_seconds=_DRAIN_SECONDS)

    def answer(self, request: Request) -> Response:
        """Answer a probe with its status, and any other path, with any method, with 513."""
        report = self._read_report()
        status = self._probes.get(request.path)
        if status is None:
            situation, now = self._read_situation(), time.monotonic()
            content = {"message": f"ERROR: {self._error(report)}", **retry_of(situation, now), **self._details(report)}
            return json_response(FAILED, content, (*own_headers("error-server"), *retry_after(situation, now)))
        if request.method == "GET" and request.path in self._root and prefers_html(request.headers.get("accept", "")):
            return self._page(status, report)
        content = {"message": ALIVE, "error": self._error(report), **self._details(report)}
        return json_response(status, content, own_headers("error-server"))

    def _error(self, report: FailureReport | None) -> str:
        if self._detail is ErrorDetail.NONE:
            return NOT_INITIALIZED
        return (report.error if report else "") or NO_REASON

    def _details(self, report: FailureReport | None) -> dict[str, Any]:
        if self._detail is not ErrorDetail.FULL or report is None:
            return {}
        return {"stage": report.stage, "type": report.type, "traceback": report.traceback}

    def _page(self, status: int, report: FailureReport | None) -> Response:
        facts = [] if report is None else [("Since", _utc(report.failed_at)), ("Attempt", str(report.attempt))]
        if report is not None and self._detail is not ErrorDetail.NONE:
            facts.insert(0, ("Stage", report.stage or "unknown"))
        if retry := retry_fact(self._read_situation(), time.monotonic()):
            facts.append(("Retry", retry))
        page = _render(self._error(report), facts, self._details(report).get("traceback", ""))
        headers = (*own_headers("error-server"), ("Content-Security-Policy", _PAGE_POLICY))
        return Response(status, page.encode("utf-8"), "text/html; charset=utf-8", headers)


class ReportFile:
    """The failure report in a file, without secrets, whoever wrote it; it is read again when the file has changed."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._read: tuple[int, int, int] | None = None
        self._report: FailureReport | None = None

    def __call__(self) -> FailureReport | None:
        """Return the report, the last good one while the file is missing or cannot be read."""
        try:
            status = os.stat(self._path)
        except OSError:
            return self._report
        version = (status.st_mtime_ns, status.st_ino, status.st_size)
        if version != self._read:
            report = read_failure(self._path)
            if report is not None:
                self._read, self._report = version, report.masked()
        return self._report


def own_headers(program: str) -> Headers:
    """Return the headers of an answer that is not the model's: never kept, and the connection is not either."""
    return (*CLOSE, ("Cache-Control", "no-store"), (PROGRAM_HEADER, program))


def prefers_html(accept: str) -> bool:
    """Whether an `Accept` header names text/html, and no other answer of ours is more welcome."""
    qualities = dict(_quality(each) for each in accept.split(","))
    page = qualities.get("text/html", 0.0)
    is_json_better = qualities.get("application/json", 0.0) >= page
    return page > 0 and not is_json_better and page >= qualities.get("*/*", 0.0)


def _quality(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in media_range.split(";"))
    weights = [text[2:] for text in parameters if text.startswith("q=")]
    try:
        return name, float(weights[0]) if weights else 1.0
    except ValueError:
        return name, 0.0


def _utc(moment: float) -> str:
    if not moment:
        return "unknown"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
    except (ValueError, OverflowError, OSError):
        return "unknown"


_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The model is not being served</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ margin: 0 auto; max-width: 50rem; padding: 2rem 1rem; }}
pre {{ border-left: 0.25rem solid; padding: 0.5rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem; }}
dt {{ font-weight: bold; }}
dd {{ margin: 0; }}
</style>
</head>
<body>
<main>
<h1>The model is not being served</h1>
<pre>{error}</pre>
<dl>
{facts}
</dl>
{traceback}<h2>What you can do</h2>
<p>On the machine or in the container where it runs:</p>
<dl>
<dt><code>drum-supervise failure</code></dt><dd>shows the whole failure report.</dd>
<dt><code>drum-supervise restart</code></dt><dd>tries again, once the cause is repaired.</dd>
</dl>
</main>
</body>
</html>
"""


def _render(error: str, facts: list[tuple[str, str]], traceback: str) -> str:
    rows = "\n".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
    trace = f"<h2>Traceback</h2>\n<pre>{html.escape(traceback)}</pre>\n" if traceback else ""
    return _PAGE.format(error=html.escape(error), facts=rows, traceback=trace)


REFUSED = "not retried: it would only fail again; repair it, then run drum-supervise restart"
SOON = 1  # seconds: nobody knows how long an attempt takes


def retry_of(situation: Situation, now: float) -> dict[str, Any]:
    """Return the entry `retry` of a body; empty where nothing is retried."""
    attempts = {"attempt": situation.attempt, "attempts_left": situation.attempts_left}
    if situation.since:
        told = {"stage": situation.stage, "seconds": round(max(now - situation.since, 0.0), 1)}
        return {"retry": {**attempts, **told}}
    if situation.next_at:
        return {"retry": {**attempts, "next_in_seconds": _seconds_left(situation, now)}}
    if situation.refused:
        return {"retry": {**attempts, "message": REFUSED}}
    return {}


def retry_after(situation: Situation, now: float) -> Headers:
    """Return the header that says when it is worth while to ask again, if anybody knows that."""
    if situation.since:
        return (("Retry-After", str(SOON)),)
    if situation.next_at:
        return (("Retry-After", str(max(_seconds_left(situation, now), SOON))),)
    return ()


def retry_fact(situation: Situation, now: float) -> str:
    """Return what people want to know about it, empty where nothing is retried."""
    left = f"{situation.attempts_left} left after that"
    if situation.since:
        where = f", now in {situation.stage}" if situation.stage else ""
        return f"attempt {situation.attempt} is under way for {max(now - situation.since, 0.0):.0f} s{where}; {left}"
    if situation.next_at:
        left = f"{situation.attempts_left - 1} left after that"
        return f"attempt {situation.attempt + 1} in {_seconds_left(situation, now)} s; {left}"
    return REFUSED if situation.refused else ""


def _seconds_left(situation: Situation, now: float) -> int:
    return max(math.ceil(situation.next_at - now), 0)
