import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from drum_supervisor.servers.wsgi.idle import IdleConnections
from tests.unit.clocks import Clock


class Client:
    """One end of a connection, and whether its receiving side is closed."""

    def __init__(self, stack: ExitStack) -> None:
        self.connection, self._other = (stack.enter_context(each) for each in socket.socketpair())
        self.connection.setblocking(False)

    def send(self) -> None:
        self._other.sendall(b"x")

    @property
    def is_closed(self) -> bool:
        try:
            return self.connection.recv(1) == b""
        except BlockingIOError:
            return False


@pytest.fixture
def client() -> Iterator[Callable[[], Client]]:
    with ExitStack() as stack:
        yield lambda: Client(stack)


@pytest.fixture
def connections(clock: Clock) -> IdleConnections:
    return IdleConnections(head_seconds=30, idle_seconds=65, now=clock)


def test_no_connections_connections(connections):
    assert connections.seconds_to_expiry() == 30  # a new connection may start to
    assert connections.seconds_to_eviction() is None
    assert not connections.evict_one()


def test_slow_head_is_closed(connections, clock, client):
    slow = client()
    connections.start_head(slow.connection)
    clock.now += 29
    connections.start_head(slow.connection)  # another part of it
    assert connections.seconds_to_expiry() == 1
    connections.close_expired()
    assert not slow.is_closed
    clock.now += 1
    connections.close_expired()
    assert slow.is_closed
    assert connections.seconds_to_eviction() is None


def test_connection_with_a_complete_head_is_not_closed(connections, clock, client):
    quick = client()
    connections.start_head(quick.connection)
    connections.finish_head(quick.connection)
    clock.now += 1000
    connections.close_expired()
    connections.close_all()
    assert not quick.is_closed


def test_idle_connection_has_a_longer_limit(connections, clock, client):
    idle = client()
    connections.start_idle(idle.connection)
    clock.now += 64
    connections.close_expired()
    assert not idle.is_closed
    assert connections.seconds_to_expiry() == 1
    clock.now += 1
    connections.close_expired()
    assert idle.is_closed


def test_new_head_expires_before_an_idle_connection(connections, client):
    connections.start_idle(client().connection)
    assert connections.seconds_to_expiry() == 30


def test_first_byte_of_a_head_starts_the_head_limit(connections, clock, client):
    slow = client()
    connections.start_idle(slow.connection)
    clock.now += 64
    connections.start_head(slow.connection)
    assert connections.seconds_to_expiry() == 30


def test_longest_idle_connection_is_evicted_first(connections, clock, client):
    slow, first, second = client(), client(), client()
    connections.start_head(slow.connection)
    connections.start_idle(first.connection)
    clock.now += 0.25
    connections.start_idle(second.connection)
    assert connections.seconds_to_eviction() == 0.75
    assert not connections.evict_one()
    clock.now += 1
    closed = []
    while connections.evict_one():
        closed.append([each.is_closed for each in (first, second, slow)])
    assert closed == [[True, False, False], [True, True, False], [True, True, True]]


def test_request_which_has_arrived_can_still_be_read(connections, client):
    late = client()
    connections.start_idle(late.connection)
    late.send()
    connections.close_all()
    assert late.connection.recv(10) == b"x"
    assert late.is_closed


def test_closed_connection_is_forgotten(connections, client):
    gone = client()
    connections.start_idle(gone.connection)
    gone.connection.close()
    connections.close_all()
    assert connections.seconds_to_eviction() is None
