"""Connections that wait for a request: who is given up, and when."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from drum_supervisor.servers.wsgi.idle import IdleConnections
from tests.unit.clocks import Clock


class Client:
    """One end of a connection, and whether the other end is given up."""

    def __init__(self, stack: ExitStack) -> None:
        self.connection, self._other = (stack.enter_context(each) for each in socket.socketpair())
        self.connection.setblocking(False)

    def send(self) -> None:
        self._other.sendall(b"x")

    @property
    def is_given_up(self) -> bool:
        try:
            return self.connection.recv(1) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def client() -> Iterator[Callable[[], Client]]:
    with ExitStack() as stack:
        yield lambda: Client(stack)


@pytest.fixture
def waiting(clock: Clock) -> IdleConnections:
    return IdleConnections(head_seconds=30, idle_seconds=65, now=clock)


def test_no_waiting_connections(waiting):
    assert waiting.seconds_to_expiry() == 30  # somebody may begin to
    assert waiting.seconds_to_eviction() is None
    assert not waiting.evict_one()


def test_slow_head_is_closed(waiting, clock, client):
    slow = client()
    waiting.start_head(slow.connection)
    clock.now += 29
    waiting.start_head(slow.connection)  # another piece of it
    assert waiting.seconds_to_expiry() == 1
    waiting.close_expired()
    assert not slow.is_given_up
    clock.now += 1
    waiting.close_expired()
    assert slow.is_given_up
    assert waiting.seconds_to_eviction() is None


def test_connection_with_a_complete_head_is_not_closed(waiting, clock, client):
    quick = client()
    waiting.start_head(quick.connection)
    waiting.finish_head(quick.connection)
    clock.now += 1000
    waiting.close_expired()
    waiting.close_all()
    assert not quick.is_given_up


def test_idle_connection_has_a_longer_limit(waiting, clock, client):
    idle = client()
    waiting.start_idle(idle.connection)
    clock.now += 64
    waiting.close_expired()
    assert not idle.is_given_up
    assert waiting.seconds_to_expiry() == 1
    clock.now += 1
    waiting.close_expired()
    assert idle.is_given_up


def test_new_head_expires_before_an_idle_connection(waiting, client):
    waiting.start_idle(client().connection)
    assert waiting.seconds_to_expiry() == 30


def test_first_byte_of_a_head_starts_the_head_limit(waiting, clock, client):
    slow = client()
    waiting.start_idle(slow.connection)
    clock.now += 64
    waiting.start_head(slow.connection)
    assert waiting.seconds_to_expiry() == 30


def test_longest_idle_connection_is_evicted_first(waiting, clock, client):
    slow, first, second = client(), client(), client()
    waiting.start_head(slow.connection)
    waiting.start_idle(first.connection)
    clock.now += 0.25
    waiting.start_idle(second.connection)
    assert waiting.seconds_to_eviction() == 0.75
    assert not waiting.evict_one()
    clock.now += 1
    given_up = []
    while waiting.evict_one():
        given_up.append([each.is_given_up for each in (first, second, slow)])
    assert given_up == [[True, False, False], [True, True, False], [True, True, True]]


def test_request_which_has_arrived_can_still_be_read(waiting, client):
    late = client()
    waiting.start_idle(late.connection)
    late.send()
    waiting.close_all()
    assert late.connection.recv(10) == b"x"
    assert late.is_given_up


def test_closed_connection_is_forgotten(waiting, client):
    gone = client()
    waiting.start_idle(gone.connection)
    gone.connection.close()
    waiting.close_all()
    assert waiting.seconds_to_eviction() is None
