"""Responses of WSGI applications over a socket pair: where one ends, and whether another may follow."""

import logging
import re
import socket
from contextlib import ExitStack, closing, suppress

import pytest

from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.servers.process import ServerConfig, StopSignals
from drum_supervisor.servers.wsgi.connection import Connection
from drum_supervisor.servers.wsgi.worker import ConnectionLimits
from drum_supervisor.servers.wsgi_server import LoneWorker

GET = b"GET /first HTTP/1.1\r\nHost: test\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n"
LENGTH_2 = [("Content-Length", "2")]


@pytest.fixture
def worker():
    """Return a function which makes a worker without a listener."""
    with ExitStack() as stack:

        def make(app: Application, keep_alive_seconds: float = 30.0) -> LoneWorker:
            listener = stack.enter_context(socket.socket())
            config = ServerConfig(listener, StopSignals(), lambda: None, 1.0)
            stack.callback(config.stop.close)
            made = LoneWorker(app, config, ConnectionLimits(1.0, keep_alive_seconds=keep_alive_seconds))
            stack.callback(made.tmp.close)
            return made

        yield make


@pytest.fixture
def exchange(worker):
    """Return a function which sends data and returns everything received, without dates."""

    def send(app: Application, data: bytes, keep_alive_seconds: float = 30.0) -> bytes:
        accepted, client = socket.socketpair()
        with client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answer_all(worker(app, keep_alive_seconds), accepted)
            received = b"".join(iter(lambda: client.recv(65536), b""))
        return re.sub(rb"Date: [^\r]*\r\n", b"", received)

    return send


def answer_all(worker: LoneWorker, accepted: socket.socket) -> None:
    """Answer all requests of a connection whose client has sent everything, and close it."""
    connection = Connection(worker.cfg, accepted, ("192.0.2.1", 1), ("192.0.2.2", 80))
    with suppress(ConnectionError), closing(connection):
        connection.receive()
        while connection.may_be_handled() and worker.handle(connection):
            if not connection.may_be_handled():
                connection.receive()


def pieces(*response: bytes, status: str = "200 OK", headers=()) -> Application:
    """Return an application with this response; /next always gets `next`."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("Content-Length", "4")])
            return [b"next"]
        start_response(status, list(headers))
        return response

    return app


def failing(*response: bytes, error: BaseException, headers=()) -> Application:
    """Return an application which fails after these pieces."""

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        yield from response
        raise error

    return app


FOLLOWED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


def test_response_with_length(exchange, caplog):
    assert exchange(pieces(b"o", b"k", headers=LENGTH_2), GET + NEXT) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + FOLLOWED
    )


def test_response_without_length_is_chunked(exchange):
    assert exchange(pieces(b"o", b"", b"k"), GET + NEXT) == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n" + FOLLOWED
    )


def test_http_1_0_gets_no_chunks(exchange):
    old = b"GET /first HTTP/1.0\r\n\r\n"
    assert exchange(pieces(b"ok"), old + NEXT) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_204_and_304_have_no_body(exchange, status):
    assert exchange(pieces(b"dropped", status=status), GET + NEXT) == f"HTTP/1.1 {status}\r\n\r\n".encode() + FOLLOWED


def test_unknown_status_has_no_phrase(exchange):
    response = exchange(pieces(b"ok", status="513 UNKNOWN", headers=LENGTH_2), GET)
    assert response == b"HTTP/1.1 513 \r\nContent-Length: 2\r\n\r\nok"


def test_response_to_head_has_length_but_no_body(exchange):
    head = GET.replace(b"GET", b"HEAD")
    assert exchange(pieces(b"ok", headers=LENGTH_2), head + NEXT) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + FOLLOWED
    )


def test_large_response_is_sent_whole(exchange):
    large = b"x" * 200_000
    assert exchange(pieces(large, headers=[("Content-Length", "200000")]), GET).endswith(b"\r\n\r\n" + large)


@pytest.mark.parametrize("value", ["close", "Close", "TE, close"])
def test_application_may_close_the_connection(exchange, value):
    response = exchange(pieces(b"ok", headers=[*LENGTH_2, ("Connection", value)]), GET + NEXT)
    assert response == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_server_may_close_the_connection(exchange):
    response = exchange(pieces(b"ok", headers=LENGTH_2), GET + NEXT, keep_alive_seconds=0)
    assert response == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_body_shorter_than_announced_closes_the_connection(exchange):
    assert exchange(pieces(b"o", headers=LENGTH_2), GET + NEXT).endswith(b"\r\n\r\no")


def test_body_longer_than_announced_is_cut(exchange):
    assert exchange(pieces(b"o", b"kay", headers=LENGTH_2), GET + NEXT).endswith(b"\r\n\r\nok" + FOLLOWED)


def test_write_callable_works(exchange):
    def app(environ, start_response):
        write = start_response("200 OK", LENGTH_2)
        write(b"o")
        return [b"k"]

    assert exchange(app, GET).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError("no"), SystemExit(3)])
def test_error_before_the_response_is_a_500(exchange, error, caplog):
    response = exchange(failing(error=error, headers=LENGTH_2), GET + NEXT)
    assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"Connection: close\r\n" in response
    assert response.endswith(b'{"message": "ERROR: Internal Server Error"}')
    assert [record.getMessage() for record in caplog.records] == ["GET '/first' failed"]


@pytest.mark.parametrize("headers", [LENGTH_2, []], ids=["length", "chunks"])
def test_error_within_the_body_cuts_the_response(exchange, headers, caplog):
    response = exchange(failing(b"o", error=FileNotFoundError("no"), headers=headers), GET + NEXT)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith((b"\r\n\r\no", b"\r\n1\r\no\r\n"))
    assert len(caplog.records) == 1


def test_error_before_the_end_of_a_response_to_head_is_a_500(exchange, caplog):
    response = exchange(failing(b"dropped", error=ValueError("no"), headers=LENGTH_2), GET.replace(b"GET", b"HEAD"))
    assert response.startswith(b"HTTP/1.1 500 ")


def test_application_may_replace_an_unsent_response(exchange):
    def app(environ, start_response):
        start_response("200 OK", LENGTH_2)
        yield b""
        start_response("503 Busy", [("Content-Length", "4")], (ValueError, ValueError(), None))
        yield b"busy"

    assert exchange(app, GET) == b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


@pytest.mark.parametrize(
    "headers", [[("X-A", "a\r\nX-B: b")], [("X-A", "a\n")]], ids=["another header", "the end of a line"]
)
def test_headers_with_line_breaks_are_refused(exchange, headers, caplog):
    assert exchange(pieces(b"", headers=headers), GET).startswith(b"HTTP/1.1 500 ")
    assert "Invalid response header from the application: 'X-A'" in caplog.text


@pytest.mark.parametrize("started", [0, 2])
def test_start_response_is_called_exactly_once(exchange, started, caplog):
    def app(environ, start_response):
        for _ in range(started):
            start_response("200 OK", [])
        return [b"ok"]

    assert exchange(app, GET).startswith(b"HTTP/1.1 500 ")
    assert "AssertionError" in caplog.text


def test_body_iterable_is_always_closed(exchange, caplog):
    closed = []

    class Body(list):
        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", LENGTH_2)
        return Body([b"ok"] if environ["PATH_INFO"] == "/first" else ["no bytes"])

    exchange(app, GET + NEXT)
    assert closed == [True, True]


POST = b"POST /first HTTP/1.1\r\nHost: test\r\n"


@pytest.mark.parametrize("body", [b"Content-Length: 4\r\n\r\n0123"])
def test_unread_body_which_has_arrived_is_skipped(exchange, body):
    assert exchange(pieces(b"ok", headers=LENGTH_2), POST + body + NEXT).endswith(b"ok" + FOLLOWED)


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 9999\r\n\r\n0123", b"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n0\r\n\r\n"],
    ids=["not there", "chunks"],
)
def test_unread_body_closes_the_connection(exchange, body):
    response = exchange(pieces(b"ok", headers=LENGTH_2), POST + body + NEXT)
    assert response == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 4\r\n\r\n0123", b"Transfer-Encoding: chunked\r\n\r\n3\r\n012\r\n1\r\n3\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_body_is_a_file_that_ends(exchange, body):
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123"
    assert exchange(echo, (POST + body) * 3) == response * 3


def test_client_which_disconnects_is_not_logged(worker, caplog):
    caplog.set_level(logging.DEBUG)
    connection, client = socket.socketpair()
    client.sendall(GET)
    client.close()
    answer_all(worker(pieces(b"ok")), connection)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert connection.fileno() == -1
