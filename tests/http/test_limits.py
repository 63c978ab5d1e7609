"""Abusive clients harm only themselves."""

import resource
from contextlib import ExitStack

import pytest

from tests.http.children import ANSWER_SECONDS, answer, ask, connect, measured, request
from tests.http.conftest import ECHO, FRONTS, KEEPING_FRONTS


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param


@pytest.mark.parametrize("begin", [b"", b"G", b"GET / HTTP/1.1\r\nHost: test\r\n"], ids=["nothing", "a byte", "most"])
def test_client_without_a_head_is_closed(start, front, begin):
    child = start(ECHO, front, "head_seconds=1").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(begin)
        assert connection.recv(100) == b""
    assert ask(child.listener, request("GET", "/")).status == 200


@pytest.mark.parametrize("front", KEEPING_FRONTS, indirect=True)
def test_keep_alive_header_does_not_help(start, front):
    child = start(ECHO, front, "head_seconds=1").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/"))
        assert answer(connection).status == 200
        connection.sendall(b"G")
        assert connection.recv(100) == b""


@pytest.mark.parametrize("front", ["stdlib", "flask"], indirect=True)
def test_one_connection_too_many_closes_the_oldest(start, front):
    child = start(ECHO, front, "max_connections=3").until_ready()
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(child.listener)) for _ in range(3)]
        connections.append(stack.enter_context(connect(child.listener)))
        assert connections[0].recv(100) == b""
        for connection in connections[2:]:
            connection.sendall(request("GET", "/"))
            assert answer(connection).status == 200


def test_idle_connection_is_evicted(start, fifo):
    child = start(ECHO, "flask", "max_connections=2").until_ready()
    with connect(child.listener) as idle:
        idle.sendall(request("GET", "/"))
        assert answer(idle).header("connection") == ""
        with connect(child.listener) as busy:
            busy.sendall(request("GET", f"/block{fifo}"))
            with open(fifo, "w"), connect(child.listener) as third:  # the service has opened the FIFO
                assert idle.recv(100) == b""
                third.sendall(request("GET", "/"))
                assert answer(third).status == 200
            assert answer(busy).status == 200


def test_no_connection_is_kept_at_the_limit(start):
    child = start(ECHO, "flask", "max_connections=2").until_ready()
    with connect(child.listener) as first:
        first.sendall(request("GET", "/"))
        assert answer(first).header("connection") == ""
        with connect(child.listener) as second:
            second.sendall(request("GET", "/"))
            assert answer(second).header("connection") == "close"


@pytest.mark.parametrize("front", ["flask", "gunicorn"], indirect=True)
def test_idle_connection_is_closed(start, front):
    child = start(ECHO, front, "keep_alive=1").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/"))
        assert answer(connection).header("connection") == ""
        assert connection.recv(100) == b""


@pytest.mark.parametrize("front", ["flask", "gunicorn"], indirect=True)
def test_no_connection_is_kept_without_keep_alive(start, front):
    child = start(ECHO, front, "keep_alive=0").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/"))
        assert answer(connection).header("connection") == "close"
        assert connection.recv(100) == b""


def test_error_of_the_service_ends_one_connection(start):
    child = start(ECHO, "stdlib").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/status/none"))
        assert connection.recv(100) == b""
    assert ask(child.listener, request("GET", "/")).status == 200
    child.until(lambda: "ValueError: invalid literal" in child.stderr)


def test_many_slow_clients_do_not_delay_others(start, front):
    child = start(ECHO, front).until_ready()
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(connect(child.listener)).sendall(b"G")
        assert measured(lambda: ask(child.listener, request("GET", "/"))) < ANSWER_SECONDS / 4


@pytest.mark.parametrize("front", ["flask", "gunicorn"], indirect=True)
def test_many_idle_clients_do_not_delay_others(start, front):
    child = start(ECHO, front).until_ready()
    with ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(connect(child.listener))
            connection.sendall(request("GET", "/"))
            assert answer(connection).status == 200
        assert measured(lambda: ask(child.listener, request("GET", "/"))) < ANSWER_SECONDS / 4


def test_running_out_of_descriptors_is_survived(start, front):
    child = start(ECHO, front).until_ready()
    processes = child.tree()
    worker = processes[-1]
    few = worker.num_fds() + 5
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (few, few))
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(child.listener))
    assert ask(child.listener, request("GET", "/")).status == 200
    assert child.tree() == processes
