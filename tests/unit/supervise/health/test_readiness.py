"""The readiness of third-party servers, against real sockets; one poll loop turns both sides."""

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
    """A listener with a server on it, a readiness check, and its results."""

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

    def start_probing(self, probe: ReadinessProbe | None = PING, address: Address | None = None) -> None:
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

    def until_probed(self, times: int) -> None:
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
    def test_ok_is_ready(self, world):
        world.serve(OK)
        world.start_probing()
        world.until_ready()
        assert world.server.connections == 1

    def test_request_has_path_host_and_connection_close(self, world):
        world.serve(OK)
        world.start_probing(STRICT)
        world.until_ready()
        (request,) = world.server.requests
        assert request.startswith(b"GET /health?full=1 HTTP/1.1\r\nHost: ")
        assert f"Host: {address_of(world.listener)}\r\n".encode() in request
        assert b"Connection: close\r\n" in request

    @pytest.mark.parametrize("not_yet", [UNAVAILABLE, OURS, CLOSE, RESET, b"garbage", b"HTTP/1.1 1", b"x" * 70_000])
    def test_probes_again_after_any_other_response(self, world, not_yet):
        world.serve(not_yet, not_yet, OK)
        world.start_probing()
        world.until_ready()
        assert world.server.connections == 3

    def test_one_probe_waits_in_the_backlog(self, world):
        world.start_probing()
        for _ in range(5):
            world.loop.turn(0.01)
        world.serve(OK)
        world.until_ready()
        assert world.server.connections == 1
        world.listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            world.listener.accept()

    def test_reports_ready_once(self, world):
        world.serve(OK)
        world.start_probing()
        world.until_ready()
        for _ in range(5):
            world.loop.turn(0.01)
        assert world.ready == 1
        assert world.loop.timers.seconds_left() == float("inf")

    def test_leaves_nothing_open(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.serve(UNAVAILABLE, CLOSE, RESET, OK)
        world.start_probing()
        world.until_ready()
        world.loop.until(lambda: set(world.loop.watched) == {world.listener.fileno()})
        assert sorted(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("answer", [OK, UNAVAILABLE])
    def test_does_not_probe_after_close(self, world, answer):
        world.serve(answer)
        world.start_probing()
        if answer is UNAVAILABLE:
            world.until_probed(2)
        world.watcher.close()
        assert world.loop.timers.seconds_left() == float("inf")
        before = world.server.connections
        for _ in range(5):
            world.loop.turn(0.01)
        assert world.server.connections - before <= 1  # the one that waited in the backlog
        assert world.ready == 0

    def test_may_be_closed_by_its_listener(self, world):
        world.serve(OK)
        world.start_probing()
        world.until_probed(1)
        world.loop.until(lambda: set(world.loop.watched) == {world.listener.fileno()})

    def test_reports_a_failure(self, world):
        world.serve(UNAVAILABLE, FAILED)
        world.start_probing()
        world.loop.until(lambda: world.failures)
        assert (world.ready, world.failures) == (0, ["no weights"])

    def test_probes_until_closed(self, world):
        world.serve(OK)
        world.closes_when_ready = False
        world.start_probing()
        world.loop.until(lambda: world.ready >= 3)


class TestFailureResponse:
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
    def test_is_parsed(self, body, message):
        assert read_failure(b"HTTP/1.1 513 X\r\nA: b\r\n\r\n" + body, 513) == message

    @pytest.mark.parametrize("head", [b"HTTP/1.1 500 X", b"HTTP/1.1 200 OK", b"HTTP/1.1 513 X\r\n" + OURS[17:48], b""])
    def test_does_not_include_own_or_other_responses(self, head):
        assert read_failure(head + b"\r\n\r\nno weights", 513) is None

    def test_may_have_another_status(self):
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


class TestServerThatDoesNotListenYet:
    @pytest.fixture
    def world(self) -> Iterator[World]:
        """The port is bound, but not listening: it refuses connections."""
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        made = World(reserved)
        yield made
        made.close()

    @pytest.mark.parametrize("probe", [PING, None])
    def test_is_probed_until_it_listens(self, world, probe):
        world.start_probing(probe)
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)
        assert world.ready == 0
        world.listener.listen()
        world.serve(OK)
        world.until_ready()

    def test_keeps_no_descriptors_open(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.start_probing()
        for _ in range(3):
            world.loop.until(lambda: world.loop.timers.seconds_left() < 1)
            assert sorted(os.listdir("/proc/self/fd")) == before
            world.loop.until(lambda: world.loop.timers.seconds_left() > 1)

    @pytest.mark.parametrize("name", ["a..b", "x" * 64])
    def test_invalid_host_name_is_not_ready(self, world, name):
        world.start_probing(address=Address(name, 80))
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)

    def test_missing_unix_socket_is_not_ready(self, world, short_path):
        world.start_probing(address=Address(path=str(short_path / "none.sock")))
        world.loop.until(lambda: world.loop.timers.seconds_left() < 1)


class TestPort:
    def test_open_port_is_ready(self, world):
        world.start_probing(probe=None)
        world.until_ready()

    def test_wildcard_address_is_probed_on_loopback(self):
        world = World(bind(Address("0.0.0.0", 0)))
        world.start_probing(probe=None)
        world.until_ready()
        world.close()


class TestIsReadyResponse:
    @pytest.mark.parametrize("status", [200, 204, 299, 301, 399])
    def test_success_and_redirection_are_ready(self, status):
        assert is_ready_response(b"HTTP/1.1 %d X\r\n\r\n" % status, below=400)

    @pytest.mark.parametrize(
        ("status", "below"), [(400, 400), (404, 400), (500, 500), (503, 500), (100, 500), (199, 500)]
    )
    def test_other_status_is_not_ready(self, status, below):
        assert not is_ready_response(b"HTTP/1.1 %d X\r\n\r\n" % status, below)

    @pytest.mark.parametrize("status", [400, 404, 405, 499])
    def test_4xx_is_ready_where_the_path_is_optional(self, status):
        assert is_ready_response(b"HTTP/1.0 %d X\r\n\r\n" % status, below=500)

    @pytest.mark.parametrize("name", [b"X-Drum-Supervisor", b"x-drum-supervisor", b"X-DRUM-SUPERVISOR"])
    def test_own_responses_do_not_count(self, name):
        assert not is_ready_response(b"HTTP/1.1 200 OK\r\nA: b\r\n" + name + b": stand-in\r\n\r\n", below=500)

    @pytest.mark.parametrize(
        "head", [b"", b"HTTP/1.1", b"HTTP/2 200", b"ICY 200 OK", b"\r\nHTTP/1.1 200 OK", b"\xff" * 20]
    )
    def test_invalid_http_is_not_ready(self, head):
        assert not is_ready_response(head, below=500)


@pytest.fixture
def run_dir(short_path):
    return RunDir(short_path)


class Observed(list[str]):
    """Records the results; closes the socket at READY=1, if there is one."""

    notify: NotifySocket | None = None

    def on_ready(self) -> None:
        self.append("READY")
        if self.notify:
            self.notify.close()

    def on_stage(self, stage: str) -> None:
        self.append(stage)


class TestNotifySocket:
    @pytest.fixture
    def observed(self):
        return Observed()

    @pytest.fixture
    def notify(self, run_dir, observed) -> Iterator[NotifySocket]:
        made = NotifySocket(PollLoop(), run_dir.notify_socket, observed)
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
    def test_reports_readiness_and_stage(self, run_dir, notify, observed, datagram, words):
        self.send(run_dir, datagram)
        notify.handle_read_event()
        assert observed == words

    def test_reports_several_datagrams(self, run_dir, notify, observed):
        self.send(run_dir, b"STATUS=a", b"STATUS=b", b"READY=1")
        for _ in range(3):
            notify.handle_read_event()
        assert observed == ["a", "b", "READY"]

    def test_spurious_wakeup_is_ignored(self, notify, observed):
        notify.handle_read_event()
        assert observed == []

    def test_is_private(self, run_dir, notify):
        assert stat.S_IMODE(run_dir.notify_socket.stat().st_mode) == 0o600

    def test_replaces_a_stale_socket(self, run_dir, observed):
        for _ in range(2):
            NotifySocket(PollLoop(), run_dir.notify_socket, observed).close()

    def test_may_be_closed_by_its_listener(self, run_dir, observed):
        loop = PollLoop()
        made = observed.notify = NotifySocket(loop, run_dir.notify_socket, observed)
        self.send(run_dir, b"READY=1\nSTATUS=up")
        made.handle_read_event()
        assert made.closed
        assert loop.watched == {}

    def test_is_read_only(self, notify):
        assert notify.readable()
        assert not notify.writable()
