"""Readiness of foreign servers, against real little sockets; one poll loop turns both sides."""

import os
import socket
import stat
from collections.abc import Iterator

import pytest

from drum_supervisor.contract.listener import Address, address_of, bind
from drum_supervisor.supervise.health.readiness import (
    AddressWatcher,
    NotifySocket,
    ReadinessProbe,
    is_complete,
    is_ready_response,
    read_failure,
)
from drum_supervisor.supervise.host.run_dir import RunDir
from tests.unit.polling import RESET, PollLoop, Server

PING = ReadinessProbe("/ping", below=500)
STRICT = ReadinessProbe("/health?full=1", below=400)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
OURS = b"HTTP/1.1 200 OK\r\nX-Drum-Supervisor: error-server\r\n\r\n"
FAILED = b'HTTP/1.1 513 X\r\nContent-Length: 25\r\n\r\n{"message": "no weights"}'
CLOSE = b""


class World:
    """A listener with a server on it, a watcher that looks at it, and what that observes."""

    def __init__(self, listener: socket.socket) -> None:
        self.loop = PollLoop()
        self.listener = listener
        self.ready = 0
        self.closes_when_ready = True
        self.failures: list[str] = []
        self.server: Server
        self.watcher: AddressWatcher | None = None

    def serve(self, *answers: bytes) -> Server:
        self.server = self.loop.serve(self.listener, *answers)
        return self.server

    def look(self, probe: ReadinessProbe | None = PING, address: Address | None = None) -> None:
        where = address or address_of(self.listener)
        self.watcher = AddressWatcher(self.loop, self.loop.timers, where, probe, self)

    def on_ready(self) -> None:
        self.ready += 1
        if self.watcher and self.closes_when_ready:
            self.watcher.close()

    def on_failed(self, message: str) -> None:
        self.failures.append(message)

    def until_ready(self) -> None:
        self.loop.until(lambda: self.ready)

    def until_asked(self, times: int) -> None:
        self.loop.until(lambda: self.server.connections >= times)

    def close(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
        self.loop.close()
        self.listener.close()


@pytest.fixture
def world(listener: socket.socket) -> Iterator[World]:
    made = World(listener)
    yield made
    made.close()


class TestHttp:
    def test_answer_is_ready(self, world):
        world.serve(OK)
        world.look()
        world.until_ready()
        assert world.server.connections == 1

    def test_asks_for_the_path_once_and_for_the_end_of_the_connection(self, world):
        world.serve(OK)
        world.look(STRICT)
        world.until_ready()
        (request,) = world.server.requests
        assert request.startswith(b"GET /health?full=1 HTTP/1.1\r\nHost: ")
        assert f"Host: {address_of(world.listener)}\r\n".encode() in request
        assert b"Connection: close\r\n" in request

    @pytest.mark.parametrize("not_yet", [UNAVAILABLE, OURS, CLOSE, RESET, b"garbage", b"HTTP/1.1 1", b"x" * 70_000])
    def test_any_other_answer_is_asked_for_again(self, world, not_yet):
        world.serve(not_yet, not_yet, OK)
        world.look()
        world.until_ready()
        assert world.server.connections == 3

    def test_waits_in_the_backlog_until_somebody_accepts_and_does_not_ask_twice(self, world):
        world.look()
        for _ in range(5):
            world.loop.turn(0.01)
        world.serve(OK)
        world.until_ready()
        assert world.server.connections == 1
        world.listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            world.listener.accept()

    def test_is_told_once(self, world):
        world.serve(OK)
        world.look()
        world.until_ready()
        for _ in range(5):
            world.loop.turn(0.01)
        assert world.ready == 1
        assert world.loop.timers.seconds_left() == float("inf")

    def test_leaves_nothing_open(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.serve(UNAVAILABLE, CLOSE, RESET, OK)
        world.look()
        world.until_ready()
        world.loop.until(lambda: set(world.loop.watched) == {world.listener.fileno()})
        assert sorted(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("answer", [OK, UNAVAILABLE])
    def test_asks_no_more_once_it_is_closed(self, world, answer):
        world.serve(answer)
        world.look()
        if answer is UNAVAILABLE:
            world.until_asked(2)
        world.watcher.close()
        assert world.loop.timers.seconds_left() == float("inf")
        asked = world.server.connections
        for _ in range(5):
            world.loop.turn(0.01)
        assert world.server.connections - asked <= 1  # the one that waited in the backlog
        assert world.ready == 0

    def test_may_be_closed_from_within_the_call(self, world):
        world.serve(OK)
        world.look()
        world.until_asked(1)
        world.loop.until(lambda: set(world.loop.watched) == {world.listener.fileno()})

    def test_that_answers_with_its_failure_is_told_of(self, world):
        world.serve(UNAVAILABLE, FAILED)
        world.look()
        world.loop.until(lambda: world.failures)
        assert (world.ready, world.failures) == (0, ["no weights"])

    def test_is_asked_again_after_a_good_answer_until_that_is_enough(self, world):
        world.serve(OK)
        world.closes_when_ready = False
        world.look()
        world.loop.until(lambda: world.ready >= 3)


class TestAnswerThatSaysFailed:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b'{"message": "ERROR: no weights"}', "no weights"),
            (b'{"error": "no weights"}', "no weights"),
            (b'{"detail": "no weights", "x": 1}', "no weights"),
            (b'"no weights"', "no weights"),
            (b" no\nweights\n", "no\nweights"),
            (b'{"detail": [1]}', "the model server answered with status 513"),
            (b"[]", "the model server answered with status 513"),
            (b"<html>", "the model server answered with status 513"),
            (b"", "the model server answered with status 513"),
        ],
    )
    def test_is_read(self, body, message):
        assert read_failure(b"HTTP/1.1 513 X\r\nA: b\r\n\r\n" + body, 513) == message

    @pytest.mark.parametrize("head", [b"HTTP/1.1 500 X", b"HTTP/1.1 200 OK", b"HTTP/1.1 513 X\r\n" + OURS[17:48], b""])
    def test_is_another_status_or_that_of_our_own_error_server(self, head):
        assert read_failure(head + b"\r\n\r\nno weights", 513) is None

    def test_may_be_another_status(self):
        assert read_failure(b"HTTP/1.1 599 X\r\n\r\nno", 599) == "no"

    @pytest.mark.parametrize(
        ("answer", "complete"),
        [
            (b"HTTP/1.1 200 OK\r\n", False),
            (OK, True),
            (b"HTTP/1.1 513 X\r\nContent-Length: 3\r\n\r\nab", False),
            (b"HTTP/1.1 513 X\r\nContent-Length: 3\r\n\r\nabc", True),
            (b"HTTP/1.1 513 X\r\n\r\nabc", False),
        ],
    )
    def test_is_read_to_its_end(self, answer, complete):
        assert is_complete(answer, PING) is complete


class TestServerThatIsNotThereYet:
    @pytest.fixture
    def world(self) -> Iterator[World]:
        """The port is bound and refuses connections: nobody listens."""
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        made = World(reserved)
        yield made
        made.close()

    @pytest.mark.parametrize("probe", [PING, None])
    def test_is_asked_until_it_is(self, world, probe):
        world.look(probe)
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)
        assert world.ready == 0
        world.listener.listen()
        world.serve(OK)
        world.until_ready()

    def test_costs_no_descriptors(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.look()
        for _ in range(3):
            world.loop.until(lambda: world.loop.timers.seconds_left() < 1)
            assert sorted(os.listdir("/proc/self/fd")) == before
            world.loop.until(lambda: world.loop.timers.seconds_left() > 1)

    @pytest.mark.parametrize("name", ["a..b", "x" * 64])
    def test_because_its_name_means_nothing_is_no_crash(self, world, name):
        world.look(address=Address(name, 80))
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)

    def test_because_there_is_no_such_socket_is_no_crash(self, world, short_path):
        world.look(address=Address(path=str(short_path / "none.sock")))
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)


class TestPort:
    def test_that_is_open_is_ready_without_a_question(self, world):
        world.look(probe=None)
        world.until_ready()

    def test_of_a_wildcard_address_is_looked_for_on_the_loopback(self):
        world = World(bind(Address("0.0.0.0", 0)))
        world.look(probe=None)
        world.until_ready()
        world.close()


class TestIsReadyAnswer:
    @pytest.mark.parametrize("status", [200, 204, 299, 301, 399])
    def test_success_and_redirection_are_ready(self, status):
        assert is_ready_response(b"HTTP/1.1 %d X\r\n\r\n" % status, below=400)

    @pytest.mark.parametrize(
        ("status", "below"), [(400, 400), (404, 400), (500, 500), (503, 500), (100, 500), (199, 500)]
    )
    def test_from_the_limit_on_nothing_is(self, status, below):
        assert not is_ready_response(b"HTTP/1.1 %d X\r\n\r\n" % status, below)

    @pytest.mark.parametrize("status", [400, 404, 405, 499])
    def test_server_that_does_not_know_the_path_is_up_where_nobody_promised_it(self, status):
        assert is_ready_response(b"HTTP/1.0 %d X\r\n\r\n" % status, below=500)

    @pytest.mark.parametrize("name", [b"X-Drum-Supervisor", b"x-drum-supervisor", b"X-DRUM-SUPERVISOR"])
    def test_our_own_answers_do_not_count(self, name):
        assert not is_ready_response(b"HTTP/1.1 200 OK\r\nA: b\r\n" + name + b": stand-in\r\n\r\n", below=500)

    @pytest.mark.parametrize(
        "head", [b"", b"HTTP/1.1", b"HTTP/2 200", b"ICY 200 OK", b"\r\nHTTP/1.1 200 OK", b"\xff" * 20]
    )
    def test_what_is_no_http_is_not(self, head):
        assert not is_ready_response(head, below=500)


@pytest.fixture
def run_dir(short_path):
    return RunDir(short_path)


class Heard(list[str]):
    """Notes what it hears; closes the socket when it is ready, if there is one to close."""

    notify: NotifySocket | None = None

    def on_ready(self) -> None:
        self.append("READY")
        if self.notify:
            self.notify.close()

    def on_stage(self, stage: str) -> None:
        self.append(stage)


class TestNotifySocket:
    @pytest.fixture
    def heard(self):
        return Heard()

    @pytest.fixture
    def notify(self, run_dir, heard) -> Iterator[NotifySocket]:
        made = NotifySocket(PollLoop(), run_dir.notify_socket, heard)
        yield made
        if not made.closed:
            made.close()

    def send(self, run_dir: RunDir, *datagrams: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, str(run_dir.notify_socket))

    @pytest.mark.parametrize(
        ("datagram", "words"),
        [
            (b"READY=1", ["READY"]),
            (b"READY=1\n", ["READY"]),
            (b"STATUS=loading\nREADY=1\n", ["loading", "READY"]),
            (b"MAINPID=7\nREADY=1\nWATCHDOG=1", ["READY"]),
            (b"STATUS=", [""]),
            ("STATUS=lädt".encode(), ["lädt"]),
            (b"STATUS=\xff", ["\ufffd"]),
            (b"READY=0", []),
            (b"READY=11", []),
            (b"NOT READY=1", []),
            (b"", []),
            (b"\0\xff", []),
            (b"x" * 10_000, []),
        ],
    )
    def test_hears_readiness_and_stage(self, run_dir, notify, heard, datagram, words):
        self.send(run_dir, datagram)
        notify.handle_read_event()
        assert heard == words

    def test_hears_one_after_the_other(self, run_dir, notify, heard):
        self.send(run_dir, b"STATUS=a", b"STATUS=b", b"READY=1")
        for _ in range(3):
            notify.handle_read_event()
        assert heard == ["a", "b", "READY"]

    def test_spurious_wakeup_is_nothing(self, notify, heard):
        notify.handle_read_event()
        assert heard == []

    def test_is_for_its_owner_only(self, run_dir, notify):
        assert stat.S_IMODE(run_dir.notify_socket.stat().st_mode) == 0o600

    def test_takes_the_place_of_one_that_was_left_behind(self, run_dir, heard):
        for _ in range(2):
            NotifySocket(PollLoop(), run_dir.notify_socket, heard).close()

    def test_may_be_closed_from_within_the_call(self, run_dir, heard):
        loop = PollLoop()
        made = heard.notify = NotifySocket(loop, run_dir.notify_socket, heard)
        self.send(run_dir, b"READY=1\nSTATUS=up")
        made.handle_read_event()
        assert made.closed
        assert loop.watched == {}

    def test_is_only_listened_to(self, notify):
        assert notify.readable()
        assert not notify.writable()
