"""One contract for all fronts: the service gets the same request, and the client the same response."""

import hashlib
import json
import socket
import threading
from contextlib import suppress

import pytest

from tests.http.children import ANSWER_SECONDS, Raw, answer, ask, connect, measured, request
from tests.http.conftest import FRONTS

BLOCKING_FRONTS = FRONTS[1:]  # asyncio_server cannot wait for a response
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO")
TARGETS = {
    "/": ("/", ""),
    "//": ("//", ""),
    "//host/x": ("//host/x", ""),
    "//[": ("//[", ""),
    "/docs": ("/docs", ""),
    "/openapi.json": ("/openapi.json", ""),
    "/static/x": ("/static/x", ""),
    "/x/": ("/x/", ""),
    "/x?": ("/x", ""),
    "/x?a=%20&b=?/": ("/x", "a=%20&b=?/"),
    "/%2e%2e/": ("/../", ""),
    "/../x/./y": ("/../x/./y", ""),
    "/a%2Fb": ("/a/b", ""),
    "/%C3%BC": ("/ü", ""),
    "/%FF": ("/\N{REPLACEMENT CHARACTER}", ""),
    "/%": ("/%", ""),
    "/%zz": ("/%zz", ""),
    "/a%00b": ("/a\0b", ""),
    "/a;b=c": ("/a;b=c", ""),
    "http://other/x?y": ("/x", "y"),
    "http://other": ("/", ""),
}


def echoed(raw: Raw):
    return json.loads(raw.body)


def own(raw: Raw):
    """Return the request as the service sees it."""
    names = ("content-type", "content-length", "x-echo", "x_echo_path", "allow")
    return {"status": raw.status, **{name: raw.headers.get(name) for name in names}}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_method_and_every_path_reaches_the_service(echo, method, target):
    raw = ask(echo.listener, request(method, target))
    path, query = TARGETS[target]
    expected = {"pid": 0, "method": method, "path": path, "query": query, "headers": {}}
    expected |= {"body": "", "length": 0, "too_large": False, "broken": ""}
    body = json.dumps(expected).encode()
    assert own(raw) == {
        "status": 200,
        "content-type": ["application/json"],
        "content-length": [str(len(body))],
        "x-echo": [method],
        "x_echo_path": [str(len(path))],
        "allow": None,
    }
    assert raw.body == (b"" if method == "HEAD" else body)


def test_asterisk_reaches_the_service(echo):
    assert echoed(ask(echo.listener, request("OPTIONS", "*")))["path"] == "*"


@pytest.mark.parametrize("status", [200, 201, 404, 405, 413, 422, 500, 503, 513, 599])
def test_status_is_the_services(echo, status):
    assert ask(echo.listener, request("GET", f"/status/{status}")).status == status


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_content_headers(echo, status, method):
    raw = ask(echo.listener, request(method, f"/status/{status}"))
    assert (raw.status, raw.body) == (status, b"")
    assert raw.headers.get("content-type") is None
    assert raw.headers.get("content-length") is None
    assert raw.header("x-echo") == method


def test_headers_are_merged_as_wsgi_merges_them(echo):
    lines = ["X-Twice: a", "x-twice: b,c", "X-Empty:", "Content-Type: text/csv; charset=utf-8", "X_Under: no"]
    headers = echoed(ask(echo.listener, request("GET", "/", headers=lines)))["headers"]
    assert headers == {"x-twice": "a,b,c", "x-empty": "", "content-type": "text/csv; charset=utf-8"}


def chunked(method: str, target: str, *lines: bytes) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"\r\n".join([*lines, b""])


@pytest.mark.parametrize(
    "data",
    [
        request("POST", "/keep/10", b"0123456789"),
        chunked("POST", "/keep/10", b"4", b"0123", b"6", b"456789", b"0", b""),
        chunked("POST", "/keep/10", b"000A;name=value", b"0123456789", b"0", b"X-Trailer: x", b""),
    ],
    ids=["length", "chunked", "chunked with extension and trailer"],
)
def test_body_that_fits_is_kept(echo, data):
    shown = echoed(ask(echo.listener, data))
    assert shown["body"] == hashlib.sha256(b"0123456789").hexdigest()
    assert (shown["length"], shown["too_large"], shown["broken"]) == (10, False, "")


@pytest.mark.parametrize(
    "data",
    [
        request("POST", "/keep/9", b"0123456789"),
        request("POST", "/keep/9", b"x" * 1_000_000),
        chunked("POST", "/keep/9", b"4", b"0123", b"6", b"456789", b"0", b""),
    ],
    ids=["length", "much longer", "chunked"],
)
def test_too_large_body_is_discarded(echo, data):
    shown = echoed(ask(echo.listener, data))
    assert (shown["length"], shown["too_large"], shown["broken"]) == (0, True, "")


@pytest.mark.parametrize(
    "data",
    [request("POST", "/x", b"0123456789"), chunked("POST", "/x", b"4", b"0123", b"0", b"")],
    ids=["length", "chunked"],
)
def test_unwanted_body_is_drained(echo, data):
    raw = ask(echo.listener, data)
    assert raw.status == 200
    assert (echoed(raw)["length"], echoed(raw)["too_large"]) == (0, False)


@pytest.mark.parametrize(
    "lines",
    [(b"zz", b"0123", b"0", b""), (b"4", b"01234", b"0", b""), (b"", b"")],
    ids=["no number", "longer than said", "empty"],
)
def test_broken_chunks_are_a_bad_request(echo, lines):
    assert ask(echo.listener, chunked("POST", "/keep/100", *lines)).status == 400


def test_truncated_body_is_broken(echo, front):
    with connect(echo.listener) as connection:
        connection.sendall(
            request("POST", "/keep/100", b"0123456789", ["Content-Length: 50"])[:-5].replace(
                b"Content-Length: 10\r\n", b""
            )
        )
        connection.shutdown(socket.SHUT_WR)
        if front != "fastapi":  # uvicorn ends the conversation by itself
            raw = answer(connection)
            assert raw.status == 400
            assert echoed(raw)["broken"] == "the client closed the connection"
    assert ask(echo.listener, request("GET", "/")).status == 200


def test_slow_body_is_broken(echo):
    with connect(echo.listener) as connection:
        connection.sendall(b"POST /hurry/0.5 HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n")
        done = threading.Event()

        def trickle() -> None:
            with suppress(OSError):
                while not done.wait(0.1):
                    connection.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            raw = answer(connection)
        finally:
            done.set()
            thread.join()
    assert raw.status == 400
    assert echoed(raw)["broken"] == "it did not arrive within 0.5 seconds"
    assert raw.header("connection") == "close"


def test_expect_continue_is_answered(echo):
    with connect(echo.listener) as connection:
        connection.sendall(b"POST /keep/10 HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        interim = b""
        while not interim.endswith(b"\r\n\r\n"):
            interim += connection.recv(1000)
        assert interim.startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"0123")
        raw = answer(connection)
    assert (raw.status, echoed(raw)["length"]) == (200, 4)


def test_http_1_0_is_supported(echo):
    with connect(echo.listener) as connection:
        connection.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        raw = answer(connection)
        assert connection.recv(100) == b""
    assert (raw.status, echoed(raw)["path"]) == (200, "/x")


def test_client_which_half_closes_gets_its_response(echo):
    with connect(echo.listener) as connection:
        connection.sendall(request("POST", "/keep/10", b"0123456789"))
        connection.shutdown(socket.SHUT_WR)
        assert echoed(answer(connection))["length"] == 10
        assert connection.recv(100) == b""


def test_far_too_many_headers_are_refused(echo):
    lines = [f"X-Header-{number}: value" for number in range(10_000)]
    raw = ask(echo.listener, request("GET", "/", headers=lines))
    assert raw.status == 431
    assert ask(echo.listener, request("GET", "/")).status == 200


NO_REQUESTS = {
    "binary": b"\0\1\2\3\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "no version": b"GET / HTTP/x\r\n\r\n",
    "no header": b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "endless line": b"x" * 100_000,
}


@pytest.mark.parametrize("case", NO_REQUESTS)
def test_bad_request_is_refused(echo, case):
    raw = ask(echo.listener, NO_REQUESTS[case])
    assert 400 <= raw.status < 500
    assert raw.header("connection") == "close"
    assert echoed(raw)["message"].startswith("ERROR: ")
    assert ask(echo.listener, request("GET", "/")).status == 200


def test_garbage_after_a_request_is_harmless(echo):
    raw = ask(echo.listener, request("GET", "/x") + b"\0garbage\r\n\r\n" * 100)
    assert (raw.status, echoed(raw)["path"]) == (200, "/x")
    assert ask(echo.listener, request("GET", "/")).status == 200


def test_client_which_disconnects_is_harmless(echo):
    for data in (b"", b"GET ", request("POST", "/keep/1000", b"x" * 500)[:-200], request("GET", "/")):
        with connect(echo.listener) as connection:
            connection.sendall(data)
    assert ask(echo.listener, request("GET", "/")).status == 200


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True, scope="module")
def test_blocking_response_does_not_delay_others(echo, fifo):
    with connect(echo.listener) as connection:
        connection.sendall(request("GET", f"/block{fifo}"))
        assert ask(echo.listener, request("GET", "/")).status == 200
        fifo.write_text("")
        assert answer(connection).status == 200


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True, scope="module")
def test_response_beyond_the_time_limit(echo, fifo):
    raw = ask(echo.listener, request("GET", f"/limit/0.05{fifo}"))
    assert (raw.status, raw.json()) == (504, {"too": "late"})
    fifo.write_text("")  # the prediction still runs: it has opened the FIFO to read
    assert ask(echo.listener, request("GET", "/")).status == 200


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True, scope="module")
def test_response_within_the_time_limit(echo, fifo):
    with connect(echo.listener) as connection:
        connection.sendall(request("GET", f"/limit/{ANSWER_SECONDS}{fifo}"))
        fifo.write_text("")
        assert answer(connection).status == 200


def test_large_body_needs_no_memory(echo):
    before = echo.memory()
    piece = bytes(1_000_000)
    with connect(echo.listener) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 200000000\r\n\r\n")
        peak = 0
        for number in range(200):
            connection.sendall(piece)
            if number % 20 == 0:
                peak = max(peak, echo.memory())
        assert answer(connection).status == 200
    assert peak - before < 20_000_000


def test_large_chunk_needs_no_memory(echo):
    before = echo.memory()
    piece = bytes(1_000_000)
    with connect(echo.listener) as connection:
        connection.sendall(chunked("POST", "/x", b"%x" % 200_000_000))
        peak = 0
        for number in range(200):
            connection.sendall(piece)
            if number % 20 == 0:
                peak = max(peak, echo.memory())
        connection.sendall(b"\r\n0\r\n\r\n")
        assert answer(connection).status == 200
    assert peak - before < 20_000_000


@pytest.mark.parametrize(
    "begin", [b"G", b"POST /x HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n"], ids=["head", "body"]
)
def test_slow_clients_do_not_delay_others(echo, begin):
    connections = [connect(echo.listener) for _ in range(200)]
    try:
        for connection in connections:
            connection.sendall(begin)
        assert measured(lambda: ask(echo.listener, request("GET", "/"))) < ANSWER_SECONDS / 4
        for connection in connections:
            connection.sendall(b"x")
        assert measured(lambda: ask(echo.listener, request("GET", "/"))) < ANSWER_SECONDS / 4
    finally:
        for connection in connections:
            connection.close()
