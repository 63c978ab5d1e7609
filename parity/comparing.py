"""Sending a request, and finding the differences between two responses."""

import http.client
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from parity.requests import Request

ANSWER_SECONDS = 60.0
TOLERANCE = 1e-9
NO_ANSWER = "no answer"

# The headers promised to clients.
HEADERS = ("x_request_id", "x-request-id", "x-drum-version", "x-drum-user-http-error", "allow")
_VALUE_IS_TOLD = ("x-drum-user-http-error", "allow")
_REQUEST_IDS = ("x_request_id", "x-request-id")


@dataclass(frozen=True)
class Answer:
    """A response; the status is 0 if there was none."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.content_type.partition(";")[0] == "application/json"

    @property
    def words(self) -> str:
        return f"{self.status} {self.content_type}".strip() if self.status else NO_ANSWER


@dataclass(frozen=True)
class Difference:
    """One difference between our response and DRUM's.

    Attributes:
        kind: `answer` (status or content type; nothing else is compared then), `body`, `wording` (of an error
            with the same shape), or `header NAME`.
    """

    kind: str
    drum: str
    ours: str


def ask(port: int, request: Request) -> Answer:
    """Send `request` on a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        connection.putheader("Connection", "close")
        for name, value in request.headers.items():
            connection.putheader(name, value)
        if request.chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif request.body is not None:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(
            _pieces(request.body) if request.chunked else request.body, encode_chunked=request.chunked
        )
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        content_type = headers.get("content-type", "").lower().replace("; ", ";")
        return Answer(response.status, content_type, headers, response.read())
    except (OSError, http.client.HTTPException):
        return Answer(0, "", {}, b"")
    finally:
        connection.close()


def differences(request: Request, drum: Answer, ours: Answer) -> Iterator[Difference]:
    """Compare status and content type; if they are equal, also the body; the headers always."""
    if drum.words != ours.words:
        yield Difference("answer", drum.words, ours.words)
    elif drum.is_json and request.method != "HEAD":
        yield from _json_differences(request, drum, ours)
    elif drum.body != ours.body:
        yield Difference("body", _short(repr(drum.body)), _short(repr(ours.body)))
    if drum.status and ours.status:
        for name in HEADERS if drum.status == ours.status else _REQUEST_IDS:
            told = _header(request, name, drum), _header(request, name, ours)
            if told[0] != told[1]:
                yield Difference(f"header {name}", *told)


def _pieces(body: bytes | None) -> Iterator[bytes]:
    body = body or b""
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


def _header(request: Request, name: str, answer: Answer) -> str:
    value = answer.headers.get(name)
    if value is None:
        return "-"
    if name in _VALUE_IS_TOLD:
        return ", ".join(sorted(value.split(", ")))
    given = next((each for key, each in request.headers.items() if key.lower() in _REQUEST_IDS), None)
    if name in _REQUEST_IDS and given is not None:
        return "that of the request" if value == given else "new"
    return "there"


def _json_differences(request: Request, drum: Answer, ours: Answer) -> Iterator[Difference]:
    contents = []
    for answer in (drum, ours):
        try:
            contents.append(_prepared(json.loads(answer.body), request))
        except ValueError:
            contents.append(f"not JSON: {answer.body[:40]!r}")
    if drum.status >= 400 and all(_is_error(content) for content in contents):
        if contents[0] != contents[1]:
            yield Difference("wording", _short(contents[0]["message"]), _short(contents[1]["message"]))
        return
    for where, *values in _unequal("", *contents):
        told = [_short(f"{where}: {value}" if where else str(value)) for value in values]
        yield Difference("body", *told)


def _is_error(content: Any) -> bool:
    return isinstance(content, dict) and list(content) == ["message"] and str(content["message"]).startswith("ERROR: ")


def _prepared(content: Any, request: Request) -> Any:
    if request.compare == "shape":
        return _shape(content)
    if isinstance(content, dict):
        return {name: _shape(value) if name in request.volatile else value for name, value in content.items()}
    return content


def _shape(content: Any) -> Any:
    """Return the names and types in `content`; numbers may be missing, and a list counts as its first element."""
    match content:
        case dict():
            return {name: _shape(value) for name, value in content.items()}
        case list():
            return [_shape(each) for each in content[:1]]
        case None | int() | float():
            return "number"
    return type(content).__name__


def _unequal(where: str, drum: Any, ours: Any) -> Iterator[tuple[str, str, str]]:
    """Yield each place where the two differ, with both values."""
    if isinstance(drum, dict) and isinstance(ours, dict):
        if drum.keys() != ours.keys():
            missing, surplus = sorted(drum.keys() - ours.keys()), sorted(ours.keys() - drum.keys())
            yield where, f"has {missing}" if missing else "-", f"has {surplus}" if surplus else "-"
        for name in sorted(drum.keys() & ours.keys()):
            yield from _unequal(f"{where}.{name}", drum[name], ours[name])
    elif isinstance(drum, list) and isinstance(ours, list):
        if len(drum) != len(ours):
            yield where, f"{len(drum)} elements", f"{len(ours)} elements"
            return
        for index, (first, second) in enumerate(zip(drum, ours, strict=False)):
            yield from _unequal(f"{where}[{index}]", first, second)
    elif not _same(drum, ours):
        yield where, repr(drum), repr(ours)


def _same(drum: Any, ours: Any) -> bool:
    if isinstance(drum, float) and isinstance(ours, float):
        return math.isclose(drum, ours, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or (math.isnan(drum) and math.isnan(ours))
    return type(drum) is type(ours) and bool(drum == ours)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:157]}..."
