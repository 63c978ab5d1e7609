"""Several requests on one connection, on every server with keep-alive."""

import json

import pytest

from tests.http.children import Raw, answer, answers, connect, request
from tests.http.conftest import KEEPING_FRONTS

LAST = request("GET", "/last", headers=["Connection: close"])
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\nX-Trailer: x\r\n\r\n"


@pytest.fixture(scope="module", params=KEEPING_FRONTS)
def front(request):
    return request.param


def paths(raws: list[Raw]) -> list[str]:
    return [json.loads(raw.body)["path"] for raw in raws]


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/first"),
        request("POST", "/keep/10", b"0123456789"),
        request("POST", "/keep/9", b"0123456789"),
        request("POST", "/unread", b"0123456789"),
        b"POST /keep/10 HTTP/1.1\r\nHost: test\r\n" + CHUNKS,
        request("GET", "/status/404"),
        request("GET", "/status/500"),
    ],
    ids=["get", "post", "too large", "unread", "chunked", "404", "500"],
)
def test_connection_is_kept_after_a_response(echo, data):
    with connect(echo.listener) as connection:
        for _ in range(3):
            connection.sendall(data)
            assert answer(connection).header("connection") == ""
        connection.sendall(LAST)
        assert json.loads(answer(connection).body)["path"] == "/last"
        assert connection.recv(100) == b""


@pytest.mark.parametrize("status", [204, 304])
def test_connection_is_kept_after_204_and_304(echo, status):
    with connect(echo.listener) as connection:
        for method in ("GET", "OPTIONS", "GET"):
            connection.sendall(request(method, f"/status/{status}"))
            raw = answer(connection)
            assert (raw.status, raw.header("x-echo"), raw.header("connection")) == (status, method, "")


def test_connection_is_kept_after_a_head(echo):
    with connect(echo.listener) as connection:
        for _ in range(3):
            connection.sendall(request("HEAD", "/x"))
            raw = answer(connection, head_only=True)
            assert (raw.status, raw.body, raw.header("connection")) == (200, b"", "")


def test_pipelined_requests_are_answered_in_order(echo):
    chunked = b"POST /keep/20 HTTP/1.1\r\nHost: test\r\n" + CHUNKS
    with connect(echo.listener) as connection:
        several = (request("GET", "/first"), request("POST", "/keep/10", b"0123456789"), chunked, request("PUT", "/x"))
        connection.sendall(b"".join((*several, LAST)))
        raws = answers(connection)
    assert paths(raws) == ["/first", "/keep/10", "/keep/20", "/x", "/last"]
    assert [json.loads(raw.body)["length"] for raw in raws] == [0, 10, 10, 0, 0]


def test_second_request_may_arrive_in_pieces(echo):
    second = request("POST", "/keep/10", b"0123456789")
    with connect(echo.listener) as connection:
        connection.sendall(request("GET", "/first") + second[:10])
        assert answer(connection).status == 200
        for piece in (second[10:30], second[30:-3], second[-3:]):
            connection.sendall(piece)
        assert json.loads(answer(connection).body)["length"] == 10


def test_expect_continue_works_twice_on_a_connection(echo):
    with connect(echo.listener) as connection:
        for _ in range(2):
            connection.sendall(
                b"POST /keep/10 HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
            )
            interim = b""
            while not interim.endswith(b"\r\n\r\n"):
                interim += connection.recv(1000)
            assert interim.startswith(b"HTTP/1.1 100 ")
            connection.sendall(b"0123")
            raw = answer(connection)
            assert (raw.status, raw.header("connection")) == (200, "")


@pytest.mark.parametrize("data", [LAST, b"GET /last HTTP/1.0\r\n\r\n"], ids=["close", "HTTP/1.0"])
def test_client_may_close_the_connection(echo, data):
    with connect(echo.listener) as connection:
        connection.sendall(request("GET", "/first"))
        assert answer(connection).header("connection") == ""
        connection.sendall(data + request("GET", "/never"))
        assert paths(answers(connection)) == ["/last"]


def test_body_without_a_known_end_closes_the_connection(echo):
    with connect(echo.listener) as connection:
        head = b"POST /keep/10 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"zz\r\n" + request("GET", "/never"))
        assert [raw.status for raw in answers(connection)] == [400]


def test_garbage_after_a_response_is_refused(echo):
    with connect(echo.listener) as connection:
        connection.sendall(request("GET", "/first"))
        assert answer(connection).status == 200
        connection.sendall(b"garbage\r\n\r\n")
        raw = answer(connection)
        assert (raw.status, raw.header("connection")) == (400, "close")
        assert connection.recv(100) == b""
