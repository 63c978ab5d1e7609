"""Observing requests, in ASGI and WSGI."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from drum_supervisor.fronts import asgi, wsgi
from drum_supervisor.fronts.observer import Observer
from drum_supervisor.request_state import RequestIdFilter, RequestState, current_request
from drum_supervisor.telemetry import Telemetry

ROUTES = {"/p/predict/": "/predict"}


@dataclass
class Seen:
    """The events around the requests, in order, and the state which the application saw."""

    events: list[str] = field(default_factory=list)
    states: list[RequestState | None] = field(default_factory=list)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        self.events.append("begin")
        try:
            yield
        finally:
            self.events.append("end")

    def observer(self) -> Observer:
        return Observer(
            lambda path: ROUTES.get(path, ""),
            Telemetry().start_request,
            lambda: self.events.append("activity"),
            self.in_flight,
        )


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each.lower() == name]


App = Callable[[Seen], list[bytes]]
Ask = Callable[..., Answer]


def ask_asgi(seen: Seen, make: App, path: str = "/", method: str = "GET", own=(), **headers: str) -> Answer:
    async def app(scope, receive, send):
        start = {"type": "http.response.start", "status": 201, "headers": [(n.encode(), v.encode()) for n, v in own]}
        pieces = make(seen)
        await send(start)
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)
        seen.events.append(message["type"].rpartition(".")[2])

    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}
    asyncio.run(asgi.ObservedAsgiApp(app, seen.observer())(scope, None, send))
    found = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], found, b"".join(message["body"] for message in sent[1:]))


def ask_wsgi(seen: Seen, make: App, path: str = "/", method: str = "GET", own=(), **headers: str) -> Answer:
    def app(environ, start_response):
        start_response("201 CREATED", list(own))
        return make(seen)

    started = SimpleNamespace(status="", headers=[])

    def start_response(status, headers):
        started.status, started.headers = status, headers

    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    body = wsgi.ObservedWsgiApp(app, seen.observer())(
        {"REQUEST_METHOD": method, "PATH_INFO": path, **environ}, start_response
    )
    try:
        received = b"".join(piece for piece in body if seen.events.append("body") or True)
    finally:
        body.close()
    return Answer(int(started.status.split()[0]), started.headers, received)


@pytest.fixture(params=[ask_asgi, ask_wsgi])
def ask(request) -> Ask:
    return request.param


def note(seen: Seen) -> list[bytes]:
    seen.states.append(current_request())
    return [b"a", b"b"]


def test_response_is_the_applications(ask):
    answer = ask(Seen(), note, own=[("X-Own", "1")])
    assert (answer.status, answer.body, answer.all("x-own")) == (201, b"ab", ["1"])


def test_application_knows_its_request(ask):
    seen = Seen()
    ask(seen, note, "/p/predict/", "post", x_request_id="abc", x_datarobot_consumer_id="c", content_length="5")
    (state,) = seen.states
    assert state is not None
    assert (state.request_id, state.route, state.method) == ("abc", "/predict", "POST")
    assert (state.content_length or 5, dict(state.consumer_headers)) == (5, {"x-datarobot-consumer-id": "c"})
    assert current_request() is None


def test_request_id_is_sent_once_in_both_spellings(ask):
    answer = ask(Seen(), note, own=[("x-request-id", "application's")], x_request_id="abc-1")
    assert answer.all("x-request-id") == ["abc-1"]
    assert answer.all("x_request_id") == ["abc-1"]


@pytest.mark.parametrize("unsafe", ["", " ", "a\r\nSet-Cookie: x", "ä", "a\x7fb", "x" * 129])
def test_unsafe_request_id_is_replaced(ask, unsafe):
    (given,) = ask(Seen(), note, x_request_id=unsafe).all("x-request-id")
    assert given != unsafe
    assert len(given) == 32


def test_request_without_id_gets_a_new_one(ask):
    ids = {tuple(ask(Seen(), note).all("x-request-id")) for _ in range(3)}
    assert len(ids) == 3


def test_request_lasts_until_the_last_byte_is_sent(ask):
    seen = Seen()
    ask(seen, note)
    assert seen.events[0] == "begin"
    assert seen.events[-2:] == ["activity", "end"]
    assert seen.events.count("body") >= 2
    assert seen.events.index("activity") > max(i for i, event in enumerate(seen.events) if event == "body")


def test_streamed_response_runs_within_the_request(ask):
    seen, ids = Seen(), []

    def stream(_: Seen) -> Iterator[bytes]:
        for piece in (b"a", b"b", b"c"):
            ids.append(getattr(current_request(), "request_id", None))
            yield piece

    assert ask(seen, stream, x_request_id="abc").body == b"abc"
    assert ids == ["abc", "abc", "abc"]


def test_failing_request_ends(ask):
    seen = Seen()

    def fail(seen: Seen) -> list[bytes]:
        note(seen)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ask(seen, fail)
    assert seen.events[-2:] == ["activity", "end"]
    assert isinstance(seen.states[0].error, ValueError)
    assert current_request() is None


def test_request_with_a_failing_stream_ends(ask):
    seen = Seen()

    def stream(_: Seen) -> Iterator[bytes]:
        yield b"a"
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ask(seen, stream)
    assert seen.events[-2:] == ["activity", "end"]


def test_log_lines_have_the_request_id(ask, caplog):
    caplog.handler.addFilter(RequestIdFilter())

    def log(_: Seen) -> list[bytes]:
        logging.getLogger("custom").warning("in score")
        return []

    ask(Seen(), log, x_request_id="abc")
    assert [record.request_id for record in caplog.records] == ["abc"]


def test_other_scopes_are_passed_on():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)

    seen = Seen()
    asyncio.run(asgi.ObservedAsgiApp(app, seen.observer())({"type": "lifespan"}, None, None))
    assert scopes == [{"type": "lifespan"}]
    assert seen.events == []
