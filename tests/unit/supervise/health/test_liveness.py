"""The liveness check of a ready server: real sockets, on a clock that the test sets."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from drum_supervisor.contract.listener import Address, address_of, bind
from drum_supervisor.supervise.health.liveness import (
    REAP_SECONDS,
    SUSPENDED_AFTER,
    TIMEOUT_SLICE,
    Liveness,
    LivenessProbe,
    describe_failure,
    summarize_failures,
)
from drum_supervisor.supervise.health.probe import Outcome
from drum_supervisor.supervise.output.log import Log
from tests.unit.polling import RESET, PollLoop, Server

CHECK = LivenessProbe("/alive?key=x", interval=10.0, timeout=5.0, failures=3)
OK = b"HTTP/1.1 200 OK\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Oops\r\n\r\n"
OURS = b"HTTP/1.1 503 Starting\r\nX-Drum-Supervisor: stand-in\r\n\r\n"
NO_ANSWER = "did not answer GET /alive within 5 s"


class World:
    """A listener, perhaps with a server on it, and a liveness check."""

    def __init__(self, listener: socket.socket, check: LivenessProbe = CHECK) -> None:
        self.now = 1000.0
        self.loop = PollLoop(lambda: self.now)
        self.listener = listener
        self.lines: list[str] = []
        self.reported: list[str] = []
        log = Log(lambda line: self.lines.append(line.decode()))
        where = address_of(listener)
        self.liveness = Liveness(self.loop, self.loop.timers, where, check, log, self.reported.append)

    def serve(self, *answers: bytes) -> Server:
        self.server = self.loop.serve(self.listener, *answers)
        return self.server

    def turn(self) -> None:
        """Turn the loop until nothing is left to do."""
        while self.loop.turn(0.001 if self.is_probing() else 0.0):
            pass

    def is_probing(self) -> bool:
        return self.loop.watched.keys() - {self.listener.fileno()} != set()

    def wait(self, seconds: float) -> None:
        """Let time pass while the loop turns every 0.1 s."""
        for _ in range(round(seconds * 10)):
            self.now = round(self.now + 0.1, 3)
            self.turn()

    def sleep(self, seconds: float) -> None:
        """Let time pass while the supervisor does not run."""
        self.now += seconds

    def close(self) -> None:
        self.liveness.close()
        self.loop.close()
        self.listener.close()


@pytest.fixture
def world(listener: socket.socket) -> Iterator[World]:
    made = World(listener)
    yield made
    made.close()


class TestServerThatAnswers:
    def test_is_probed_again_after_the_interval(self, world):
        server = world.serve(OK)
        world.wait(9.9)
        assert server.connections == 0
        for count in (1, 2, 3):
            world.wait(10.1)
            assert server.connections == count
        assert server.requests[0].startswith(b"GET /alive?key=x HTTP/1.1\r\n")
        assert (world.lines, world.reported) == ([], [])

    @pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 499])
    def test_with_any_status_below_500_is_alive(self, world, status):
        world.serve(b"HTTP/1.1 %d X\r\n\r\n" % status)
        world.wait(60.0)
        assert (world.server.connections > 3, world.lines) == (True, [])

    def test_resets_the_failures(self, world):
        world.serve(BROKEN, BROKEN, OK, BROKEN, BROKEN, OK)
        world.wait(75.0)
        assert world.server.connections >= 6
        assert [line.rpartition("/alive")[2].strip() for line in world.lines] == [
            "with status 500 (1 of 3)",
            "with status 500 (2 of 3)",
            "again",
        ] * 2
        assert world.reported == []

    def test_in_time_from_the_backlog_is_alive(self, world):
        """A single-threaded server may accept a little later."""
        world.wait(10.0 + CHECK.timeout - 0.2)
        world.serve(OK)
        world.wait(1.0)
        assert (world.server.connections, world.lines) == (1, [])


class TestServerThatDoesNotAnswer:
    def test_is_reported_once_after_the_limit(self, world):
        world.wait(10.0 + 5.0 + 10.0 + 5.0 + 10.0 + 4.8)
        assert (len(world.lines), world.reported) == (2, [])
        world.wait(0.3)
        assert world.reported == [f"the model server {NO_ANSWER}, 3 times in a row"]
        assert f"WARNING drum-supervise: the model server {NO_ANSWER} (3 of 3)" in world.lines[-1]
        world.wait(100.0)
        assert len(world.reported) == 1

    @pytest.mark.parametrize("answer", [BROKEN, b"", RESET, b"garbage", b"HTTP/1.1 2"])
    def test_has_failed(self, world, answer):
        world.serve(answer)
        world.wait(3 * 10.0 + 3 * REAP_SECONDS + 0.5)
        assert len(world.reported) == 1

    def test_keeps_no_descriptors_open(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.wait(16.0)
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert world.loop.watched == {}

    def test_may_have_a_limit_of_one(self, world):
        world.liveness.close()
        once = LivenessProbe("/x", interval=1.0, timeout=0.2, failures=1)
        reported: list[str] = []
        log = Log(lambda line: None)
        world.liveness = Liveness(world.loop, world.loop.timers, address_of(world.listener), once, log, reported.append)
        world.wait(1.3)
        assert reported == ["the model server did not answer GET /x within 0.2 s"]


class TestNobodyListens:
    @pytest.fixture
    def world(self) -> Iterator[World]:
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        made = World(reserved)
        yield made
        made.close()

    def test_has_failed(self, world):
        world.wait(33.0)
        assert world.reported == ["the model server refused the connection for GET /alive, 3 times in a row"]


def test_full_backlog_of_a_unix_socket_is_a_failure(short_path):
    listener = bind(Address(path=str(short_path / "model.sock")), 0)
    world = World(listener)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(short_path / "model.sock"))
    world.wait(11.0)
    waiting.close()
    world.close()
    assert "had no room in its backlog for GET /alive (1 of 3)" in world.lines[0]


class TestOwnResponses:
    def test_do_not_count(self, world):
        world.serve(OURS)
        world.wait(60.0)
        assert (world.server.connections > 3, world.lines, world.reported) == (True, [], [])

    def test_do_not_reset_the_failures(self, world):
        world.serve(BROKEN, OURS, BROKEN, OURS, BROKEN)
        world.wait(55.0)
        assert len(world.reported) == 1


class TestClosed:
    """The worker has died, or is replaced."""

    @pytest.mark.parametrize("seconds", [5.0, 10.2, 12.0, 20.0], ids=["before", "probing", "in-between", "failed-once"])
    def test_leaves_nothing(self, world, seconds):
        world.wait(seconds)
        world.liveness.close()
        assert world.loop.watched == {}
        assert world.loop.timers.seconds_left() == float("inf")

    def test_right_after_a_bad_answer_reports_nothing(self, world):
        world.serve(RESET)
        world.wait(10.0 + REAP_SECONDS - 0.2)
        assert world.server.connections == 1
        world.liveness.close()
        world.wait(10.0)
        assert (world.lines, world.reported) == ([], [])


class TestSuspendedSupervisor:
    """Stopped, or without CPU: the server is not to blame for responses that the supervisor missed."""

    @pytest.mark.parametrize("waited", [10.1, 12.0, 14.9])
    @pytest.mark.parametrize("slept", [TIMEOUT_SLICE + SUSPENDED_AFTER + 0.1, 60.0, 1e6])
    def test_during_a_probe_gives_the_server_another_slice(self, world, waited, slept):
        world.wait(waited)
        world.sleep(slept)
        world.serve(OK)
        world.wait(0.2)
        assert (world.server.connections, world.lines) == (1, [])

    def test_late_in_a_probe_leaves_the_rest_of_the_timeout(self, world):
        world.wait(10.1)
        world.sleep(4.8)
        world.wait(4.0)
        world.serve(OK)
        world.wait(0.2)
        assert (world.server.connections, world.lines) == (1, [])

    def test_still_fails_a_server_that_does_not_answer(self, world):
        world.wait(12.0)
        world.sleep(60.0)
        world.wait(3.4)
        assert NO_ANSWER in world.lines[0]

    def test_between_probes_continues(self, world):
        world.serve(OK)
        world.wait(5.0)
        world.sleep(1000.0)
        world.wait(1.0)
        assert (world.server.connections, world.lines) == (1, [])


class TestDescribeFailure:
    @pytest.mark.parametrize(
        ("outcome", "words"),
        [
            (Outcome(OK), ""),
            (Outcome(BROKEN), "answered GET /x with status 500"),
            (Outcome(b"HTTP/1.0 599 X\r\n\r\n"), "answered GET /x with status 599"),
            (Outcome(OURS), ""),
            (Outcome(), "closed the connection without an answer to GET /x"),
            (Outcome(b"SSH-2.0"), "closed the connection without an answer to GET /x"),
            (Outcome(error=errno.ECONNRESET), "closed the connection without an answer to GET /x"),
            (Outcome(error=errno.ECONNREFUSED), "refused the connection for GET /x"),
            (Outcome(error=errno.EAGAIN), "had no room in its backlog for GET /x"),
            (Outcome(error=errno.ENOENT), "could not be probed with GET /x (No such file or directory)"),
        ],
    )
    def test_describes_the_outcome(self, outcome, words):
        assert describe_failure(outcome, "GET /x") == words

    def test_summary_has_each_kind_once(self):
        failures = [NO_ANSWER, "refused the connection", NO_ANSWER]
        assert (
            summarize_failures(failures) == f"the model server {NO_ANSWER} or refused the connection, 3 times in a row"
        )

    def test_summary_of_one_failure_has_no_count(self):
        assert summarize_failures([NO_ANSWER]) == f"the model server {NO_ANSWER}"
