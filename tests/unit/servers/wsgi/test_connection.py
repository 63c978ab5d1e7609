"""What WSGI applications answer, over a real connection: where an answer ends, and whether another may follow."""

import logging
import re
import socket

import pytest

from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.servers.wsgi.connection import Connection
from drum_supervisor.servers.wsgi.idle import IdleConnections

GET = b"GET /first HTTP/1.1\r\nHost: test\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: test\r\n\r\n"
LENGTH_2 = [("Content-Length", "2")]


def said(app: Application, data: bytes, may_keep: bool = True) -> bytes:
    """Return all that a client gets who sends `data` and then no more, without dates."""
    connection, client = socket.socketpair()
    with client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        Connection(connection, app, {}, IdleConnections(30, 30), lambda: may_keep).run()
        received = b"".join(iter(lambda: client.recv(65536), b""))
    return re.sub(rb"Date: [^\r]*\r\n", b"", received)


def pieces(*answer: bytes, status: str = "200 OK", headers=()) -> Application:
    """Return an application that gives this answer, and to /next always `next`."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("Content-Length", "4")])
            return [b"next"]
        start_response(status, list(headers))
        return answer

    return app


def failing(*answer: bytes, error: BaseException, headers=()) -> Application:
    """Return an application that fails after these pieces."""

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        yield from answer
        raise error

    return app


FOLLOWED = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"


def test_answer_of_known_length(caplog):
    assert said(pieces(b"o", b"k", headers=LENGTH_2), GET + NEXT) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + FOLLOWED
    )


def test_answer_of_unknown_length_comes_in_chunks():
    assert said(pieces(b"o", b"", b"k"), GET + NEXT) == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n" + FOLLOWED
    )


def test_old_clients_know_no_chunks():
    old = b"GET /first HTTP/1.0\r\n\r\n"
    assert said(pieces(b"ok"), old + NEXT) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answer_without_content(status):
    assert said(pieces(b"dropped", status=status), GET + NEXT) == f"HTTP/1.1 {status}\r\n\r\n".encode() + FOLLOWED


def test_answer_to_head_has_no_body_but_its_length():
    head = GET.replace(b"GET", b"HEAD")
    assert said(pieces(b"ok", headers=LENGTH_2), head + NEXT) == (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + FOLLOWED
    )


def test_large_answer_is_sent_whole():
    large = b"x" * 200_000
    assert said(pieces(large, headers=[("Content-Length", "200000")]), GET).endswith(b"\r\n\r\n" + large)


@pytest.mark.parametrize("value", ["close", "Close"])
def test_application_may_end_the_connection(value):
    answer = said(pieces(b"ok", headers=[*LENGTH_2, ("Connection", value)]), GET + NEXT)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_host_may_end_the_connection():
    answer = said(pieces(b"ok", headers=LENGTH_2), GET + NEXT, may_keep=False)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def test_answer_that_is_shorter_than_announced_ends_the_connection():
    assert said(pieces(b"o", headers=LENGTH_2), GET + NEXT).endswith(b"\r\n\r\no")


def test_answer_that_is_longer_than_announced_is_cut():
    assert said(pieces(b"o", b"kay", headers=LENGTH_2), GET + NEXT).endswith(b"\r\n\r\nok" + FOLLOWED)


def test_answer_may_be_written():
    def app(environ, start_response):
        write = start_response("200 OK", LENGTH_2)
        write(b"o")
        return [b"k"]

    assert said(app, GET).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError("no"), SystemExit(3)])
def test_failure_before_the_answer_is_told(error, caplog):
    answer = said(failing(error=error, headers=LENGTH_2), GET + NEXT)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b'{"message": "ERROR: Internal Server Error"}')
    assert [record.getMessage() for record in caplog.records] == ["GET '/first' failed"]


@pytest.mark.parametrize("headers", [LENGTH_2, []], ids=["length", "chunks"])
def test_failure_in_the_middle_of_the_answer_ends_the_connection_before_the_end(headers, caplog):
    answer = said(failing(b"o", error=FileNotFoundError("no"), headers=headers), GET + NEXT)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith((b"\r\n\r\no", b"\r\n1\r\no\r\n"))
    assert len(caplog.records) == 1


def test_application_may_think_better_of_its_answer_before_it_is_sent():
    def app(environ, start_response):
        start_response("200 OK", LENGTH_2)
        yield b""
        start_response("503 Busy", [("Content-Length", "4")], (ValueError, ValueError(), None))
        yield b"busy"

    assert said(app, GET) == b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


@pytest.mark.parametrize(
    "headers", [[("X-A", "a\r\nX-B: b")], [("X-A", "a\n")]], ids=["another header", "the end of a line"]
)
def test_headers_with_line_breaks_are_refused(headers, caplog):
    assert said(pieces(b"", headers=headers), GET).startswith(b"HTTP/1.1 500 ")
    assert "has a line break in it" in caplog.text


@pytest.mark.parametrize("started", [0, 2])
def test_answer_is_started_once(started, caplog):
    def app(environ, start_response):
        for _ in range(started):
            start_response("200 OK", [])
        return [b"ok"]

    assert said(app, GET).startswith(b"HTTP/1.1 500 ")
    assert "AssertionError" in caplog.text


def test_answer_is_closed_whatever_happens(caplog):
    closed = []

    class Answer(list):
        def close(self):
            closed.append(True)

    def app(environ, start_response):
        start_response("200 OK", LENGTH_2)
        return Answer([b"ok"] if environ["PATH_INFO"] == "/first" else ["no bytes"])

    said(app, GET + NEXT)
    assert closed == [True, True]


POST = b"POST /first HTTP/1.1\r\nHost: test\r\n"


@pytest.mark.parametrize("body", [b"Content-Length: 4\r\n\r\n0123"])
def test_body_that_nobody_reads_is_skipped_if_it_is_there(body):
    assert said(pieces(b"ok", headers=LENGTH_2), POST + body + NEXT).endswith(b"ok" + FOLLOWED)


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 9999\r\n\r\n0123", b"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n0\r\n\r\n"],
    ids=["not there", "chunks"],
)
def test_body_that_nobody_reads_ends_the_connection_otherwise(body):
    answer = said(pieces(b"ok", headers=LENGTH_2), POST + body + NEXT)
    assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 4\r\n\r\n0123", b"Transfer-Encoding: chunked\r\n\r\n3\r\n012\r\n1\r\n3\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
def test_body_is_a_file_that_ends(body):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123"
    assert said(echo, (POST + body) * 3) == answer * 3


def test_client_that_waits_is_told_to_go_on_only_if_somebody_reads():
    expecting = POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    assert said(echo, expecting).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    refused = said(pieces(b"no", status="401 Unauthorized", headers=LENGTH_2), expecting)
    assert refused == b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"


def test_client_that_does_not_wait_is_not_told_to_go_on():
    expecting = POST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n0123"
    assert said(echo, expecting) == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123"


def test_client_that_goes_away_is_no_failure(caplog):
    caplog.set_level(logging.DEBUG)
    connection, client = socket.socketpair()
    client.sendall(GET)
    client.close()
    Connection(connection, pieces(b"ok"), {}, IdleConnections(30, 30), lambda: True).run()
    assert not caplog.records
    assert connection.fileno() == -1
