"""The metrics service of the exporter, independent of the formats."""

import gzip
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias

from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.http.messages import CLOSE, BodyPlan, Headers, Request, Response

Scrape: TypeAlias = Callable[[str], tuple[bytes, str]]

PATH = "/metrics"

_TEXT = "text/plain; charset=utf-8"
_METHODS = ("GET", "HEAD")
_NO_STORE: Headers = (*CLOSE, ("Cache-Control", "no-store"))
_REFUSED = re.compile(r"q=0(\.0*)?")
_DRAIN_SECONDS = 1.0
_FASTEST = 1  # gzip level: half the time of the best one, for a fifth more bytes
_PAGE = f"""\
<!doctype html>
<html lang="en">
<title>drum_supervisor</title>
<h1>drum_supervisor</h1>
<p><a href="{PATH}">Metrics</a> of the supervisor and its programs.</p>
</html>
"""


class MetricsService:
    """Answers a scrape with all metrics, or with 503 and the reason.

    Args:
        scrape: returns the metrics in the best format for an Accept header, and its content type.
    """

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def plan(self, method: str, path: str) -> BodyPlan:
        return BodyPlan(drain_seconds=_DRAIN_SECONDS)

    def answer(self, request: Request) -> Response:
        if request.method not in _METHODS:
            return _sentence(405, f"Only {' and '.join(_METHODS)} are supported.", ("Allow", ", ".join(_METHODS)))
        match request.path:
            case "/metrics":
                return self._metrics(request.headers)
            case "/-/healthy":
                return _sentence(200, "The exporter is healthy.")
            case "/":
                return Response(200, _PAGE.encode(), "text/html; charset=utf-8", _NO_STORE)
        return _sentence(404, f"There is nothing here: metrics are at {PATH}.")

    def _metrics(self, headers: Mapping[str, str]) -> Response:
        try:
            body, content_type = self._scrape(headers.get("accept", ""))
        except ControlError as error:
            return _sentence(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        varies: Headers = (*_NO_STORE, ("Vary", "Accept, Accept-Encoding"))
        if not accepts_gzip(headers.get("accept-encoding", "")):
            return Response(200, body, content_type, varies)
        packed = gzip.compress(body, _FASTEST, mtime=0)
        return Response(200, packed, content_type, (*varies, ("Content-Encoding", "gzip")))


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip: named, and not with q=0 (RFC 9110, 12.5.3)."""
    for each in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in each.split(";"))
        if coding == "gzip":
            return not any(_REFUSED.fullmatch(parameter) for parameter in parameters)
    return False


def _sentence(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return Response(status, f"{text}\n".encode(), _TEXT, (*_NO_STORE, *headers))
