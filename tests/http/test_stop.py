"""A stop answers everything accepted, and leaves the rest to other processes. On every server."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http.children import Child, answer, ask, connect, request
from tests.http.conftest import ECHO, FRONTS, KEEPING_FRONTS

BLOCKING_FRONTS = FRONTS[1:]  # asyncio_server cannot wait for a response


@pytest.fixture(params=FRONTS)
def front(request):
    return request.param


@pytest.fixture
def child(start, front):
    return start(ECHO, front).until_ready()


def stop(child: Child) -> None:
    """Request a stop, and wait until no connection is accepted."""
    accepts = has_listener(child)
    child.terminate()
    child.until(lambda: not accepts())


def has_listener(child: Child) -> Callable[[], bool]:
    inode = os.fstat(child.listener.fileno()).st_ino
    folders = [Path(f"/proc/{process.pid}/fd") for process in child.tree()]

    def has(folder: Path) -> bool:
        links = (os.readlink(link) for link in folder.iterdir())
        try:
            return f"socket:[{inode}]" in list(links)
        except FileNotFoundError:
            return folder.exists()  # changed while we read, or it has ended

    def probe() -> bool:
        return any(has(folder) for folder in folders)

    assert probe()
    return probe


def test_stops_at_once_without_clients(child):
    child.terminate()
    assert child.end() == 0


def test_interrupt_is_a_stop_too(child):
    child.process.send_signal(signal.SIGINT)
    assert child.end() == 0


def test_request_after_the_stop_on_an_open_connection(child):
    with connect(child.listener) as connection:
        assert ask(child.listener, request("GET", "/")).status == 200  # accepted later than ours
        stop(child)
        connection.sendall(request("GET", "/late"))
        raw = answer(connection)
        assert raw.status == 200
        assert raw.header("connection") == "close"
        assert connection.recv(100) == b""
    assert child.end() == 0


def test_half_received_request_is_answered(child):
    data = request("POST", "/keep/100", b"0123456789")
    with connect(child.listener) as connection:
        connection.sendall(data[:20])
        assert ask(child.listener, request("GET", "/")).status == 200
        stop(child)
        connection.sendall(data[20:-5])
        connection.sendall(data[-5:])
        assert answer(connection).status == 200
    assert child.end() == 0


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True)
def test_request_in_flight_is_answered(child, fifo):
    with connect(child.listener) as connection:
        connection.sendall(request("GET", f"/block{fifo}"))
        with open(fifo, "w"):  # the service has opened it
            stop(child)
        raw = answer(connection)
        assert raw.status == 200
        assert raw.header("connection") == "close"
    assert child.end() == 0


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True)
def test_request_beyond_the_drain_time_is_dropped(start, front, fifo):
    child = start(ECHO, front, "drain_seconds=1").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", f"/block{fifo}"))
        with open(fifo, "w"):
            child.terminate()
            assert child.end() == 0
        assert connection.recv(100) == b""


@pytest.mark.parametrize("front", BLOCKING_FRONTS, indirect=True)
def test_second_signal_ends_at_once(child, fifo):
    with connect(child.listener) as connection:
        connection.sendall(request("GET", f"/block{fifo}"))
        with open(fifo, "w"):
            stop(child)
            child.terminate()
            assert child.end() == 128 + signal.SIGTERM
            child.until_gone()


def test_silent_client_does_not_delay_the_stop(start, front):
    child = start(ECHO, front, "drain_seconds=60").until_ready()
    with connect(child.listener) as silent, connect(child.listener) as partial:
        partial.sendall(b"GET / HT")
        assert ask(child.listener, request("GET", "/")).status == 200
        child.terminate()
        assert child.end() == 0
        assert silent.recv(100) == b""
        assert partial.recv(100) == b""


@pytest.mark.parametrize("front", KEEPING_FRONTS, indirect=True)
def test_idle_connection_does_not_delay_the_stop(start, front):
    child = start(ECHO, front, "drain_seconds=60").until_ready()
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/"))
        assert answer(connection).header("connection") == ""
        child.terminate()
        assert child.end() == 0
        assert connection.recv(100) == b""


@pytest.mark.parametrize("front", KEEPING_FRONTS, indirect=True)
def test_idle_connection_is_answered_once_more(child):
    with connect(child.listener) as connection:
        connection.sendall(request("GET", "/"))
        assert answer(connection).status == 200
        stop(child)
        connection.sendall(request("GET", "/"))
        assert answer(connection).header("connection") == "close"
    assert child.end() == 0


@pytest.mark.parametrize("front", KEEPING_FRONTS, indirect=True)
def test_kept_connections_move_to_the_next_process(start, child, front):
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(child.listener)) for _ in range(20)]
        for connection in connections:
            connection.sendall(request("GET", "/pid"))
        old = {answer(connection).json()["pid"] for connection in connections}
        stop(child)
        for connection in connections:
            connection.sendall(request("GET", "/pid"))
        last = [answer(connection) for connection in connections]
        assert {(raw.json()["pid"], raw.header("connection")) for raw in last} == {(pid, "close") for pid in old}
        again = [stack.enter_context(connect(child.listener)) for _ in connections]
        for connection in again:
            connection.sendall(request("GET", "/pid"))
        start(ECHO, front, listener=child.listener).until_ready()
        assert not {answer(connection).json()["pid"] for connection in again} & old
    assert child.end() == 0


def test_swap_loses_no_connection(start, front):
    child = start(ECHO, front).until_ready()
    with ExitStack() as stack:
        before = [stack.enter_context(connect(child.listener)) for _ in range(50)]
        child.terminate()
        after = [stack.enter_context(connect(child.listener)) for _ in range(10)]
        for connection in (*before, *after):
            connection.sendall(request("GET", "/pid"))
        heir = start(ECHO, front, listener=child.listener).until_ready()
        assert {answer(connection).status for connection in (*before, *after)} == {200}
    assert child.end() == 0
    heir.terminate()
    assert heir.end() == 0


def test_two_processes_share_the_listener(start, front):
    first = start(ECHO, front)
    second = start(ECHO, front, listener=first.listener)
    first.until_ready()
    second.until_ready()
    for _ in range(50):
        assert ask(first.listener, request("GET", "/pid")).status == 200
    first.terminate()
    assert first.end() == 0
    for _ in range(20):
        assert ask(second.listener, request("GET", "/pid")).status == 200


@pytest.mark.parametrize("address", ["[::1]:0", "unix"])
def test_other_address_families(start, front, address, tmp_path):
    path = tmp_path / "s.sock"
    child = start(ECHO, front, address=f"unix:{path}" if address == "unix" else address).until_ready()
    assert ask(child.listener, request("GET", "/")).status == 200
    child.terminate()
    assert child.end() == 0
    assert path.exists() == (address == "unix")  # it is the supervisor's
