"""Liveness of a server that was ready, against real little sockets, on a clock that the test sets."""

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
    """A listener, maybe with a server on it, and a liveness check; time passes when the test says so."""

    def __init__(self, listener: socket.socket, check: LivenessProbe = CHECK) -> None:
        self.now = 1000.0
        self.loop = PollLoop(lambda: self.now)
        self.listener = listener
        self.lines: list[str] = []
        self.told: list[str] = []
        log = Log(lambda line: self.lines.append(line.decode()))
        where = address_of(listener)
        self.liveness = Liveness(self.loop, self.loop.timers, where, check, log, self.told.append)

    def serve(self, *answers: bytes) -> Server:
        self.server = self.loop.serve(self.listener, *answers)
        return self.server

    def turn(self) -> None:
        """Let everything happen that can without time."""
        while self.loop.turn(0.001 if self.is_asking() else 0.0):
            pass

    def is_asking(self) -> bool:
        return self.loop.watched.keys() - {self.listener.fileno()} != set()

    def wait(self, seconds: float) -> None:
        """Let time pass in a loop that runs: it looks every tenth of a second."""
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
    def test_is_asked_again_after_the_interval(self, world):
        server = world.serve(OK)
        world.wait(9.9)
        assert server.connections == 0
        for asked in (1, 2, 3):
            world.wait(10.1)
            assert server.connections == asked
        assert server.requests[0].startswith(b"GET /alive?key=x HTTP/1.1\r\n")
        assert (world.lines, world.told) == ([], [])

    @pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 499])
    def test_with_any_status_below_500_is_alive(self, world, status):
        world.serve(b"HTTP/1.1 %d X\r\n\r\n" % status)
        world.wait(60.0)
        assert (world.server.connections > 3, world.lines) == (True, [])

    def test_after_some_failures_begins_at_zero(self, world):
        world.serve(BROKEN, BROKEN, OK, BROKEN, BROKEN, OK)
        world.wait(75.0)
        assert world.server.connections >= 6
        assert [line.rpartition("/alive")[2].strip() for line in world.lines] == [
            "with status 500 (1 of 3)",
            "with status 500 (2 of 3)",
            "again",
        ] * 2
        assert world.told == []

    def test_in_time_from_the_backlog_is_alive(self, world):
        """A server that does one thing at a time, and comes to it a little later."""
        world.wait(10.0 + CHECK.timeout - 0.2)
        world.serve(OK)
        world.wait(1.0)
        assert (world.server.connections, world.lines) == (1, [])


class TestServerThatDoesNot:
    def test_is_told_of_once_after_so_many_failures(self, world):
        world.wait(10.0 + 5.0 + 10.0 + 5.0 + 10.0 + 4.8)
        assert (len(world.lines), world.told) == (2, [])
        world.wait(0.3)
        assert world.told == [f"the model server {NO_ANSWER}, 3 times in a row"]
        assert f"WARNING drum-supervise: the model server {NO_ANSWER} (3 of 3)" in world.lines[-1]
        world.wait(100.0)
        assert len(world.told) == 1

    @pytest.mark.parametrize("answer", [BROKEN, b"", RESET, b"garbage", b"HTTP/1.1 2"])
    def test_answer_well_has_failed(self, world, answer):
        world.serve(answer)
        world.wait(3 * 10.0 + 3 * REAP_SECONDS + 0.5)
        assert len(world.told) == 1

    def test_and_is_waited_for_costs_no_descriptors(self, world):
        before = sorted(os.listdir("/proc/self/fd"))
        world.wait(16.0)
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert world.loop.watched == {}

    def test_may_be_one_failure_away_from_it(self, world):
        world.liveness.close()
        once = LivenessProbe("/x", interval=1.0, timeout=0.2, failures=1)
        told: list[str] = []
        log = Log(lambda line: None)
        world.liveness = Liveness(world.loop, world.loop.timers, address_of(world.listener), once, log, told.append)
        world.wait(1.3)
        assert told == ["the model server did not answer GET /x within 0.2 s"]


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
        assert world.told == ["the model server refused the connection for GET /alive, 3 times in a row"]


def test_a_unix_socket_may_have_no_room_in_its_backlog(short_path):
    listener = bind(Address(path=str(short_path / "model.sock")), 0)
    world = World(listener)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(short_path / "model.sock"))
    world.wait(11.0)
    waiting.close()
    world.close()
    assert "had no room in its backlog for GET /alive (1 of 3)" in world.lines[0]


class TestOurOwnAnswers:
    def test_do_not_count(self, world):
        world.serve(OURS)
        world.wait(60.0)
        assert (world.server.connections > 3, world.lines, world.told) == (True, [], [])

    def test_do_not_say_either_that_it_is_alive(self, world):
        world.serve(BROKEN, OURS, BROKEN, OURS, BROKEN)
        world.wait(55.0)
        assert len(world.told) == 1


class TestClosed:
    """The worker died, or is replaced: nobody asks meanwhile."""

    @pytest.mark.parametrize("seconds", [5.0, 10.2, 12.0, 20.0], ids=["before", "asked", "in-between", "failed-once"])
    def test_leaves_nothing(self, world, seconds):
        world.wait(seconds)
        world.liveness.close()
        assert world.loop.watched == {}
        assert world.loop.timers.seconds_left() == float("inf")

    def test_in_the_moment_after_a_bad_answer_has_nothing_to_tell(self, world):
        """It was dying: that is told as what it is."""
        world.serve(RESET)
        world.wait(10.0 + REAP_SECONDS - 0.2)
        assert world.server.connections == 1
        world.liveness.close()
        world.wait(10.0)
        assert (world.lines, world.told) == ([], [])


class TestSupervisorThatSlept:
    """Stopped, or without a processor: what it did not see meanwhile is not the server's fault."""

    @pytest.mark.parametrize("waited", [10.1, 12.0, 14.9])
    @pytest.mark.parametrize("slept", [TIMEOUT_SLICE + SUSPENDED_AFTER + 0.1, 60.0, 1e6])
    def test_while_it_had_asked_looks_again_before_it_blames(self, world, waited, slept):
        world.wait(waited)
        world.sleep(slept)
        world.serve(OK)
        world.wait(0.2)
        assert (world.server.connections, world.lines) == (1, [])

    def test_until_shortly_before_its_time_was_over_gives_it_what_was_left(self, world):
        world.wait(10.1)
        world.sleep(4.8)
        world.wait(4.0)
        world.serve(OK)
        world.wait(0.2)
        assert (world.server.connections, world.lines) == (1, [])

    def test_blames_a_server_that_does_not_answer_after_it_either(self, world):
        world.wait(12.0)
        world.sleep(60.0)
        world.wait(3.4)
        assert NO_ANSWER in world.lines[0]

    def test_between_two_questions_asks_when_it_is_awake(self, world):
        world.serve(OK)
        world.wait(5.0)
        world.sleep(1000.0)
        world.wait(1.0)
        assert (world.server.connections, world.lines) == (1, [])


class TestComplaint:
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
    def test_says_what_was_wrong(self, outcome, words):
        assert describe_failure(outcome, "GET /x") == words

    def test_tells_each_kind_of_failure_once(self):
        failures = [NO_ANSWER, "refused the connection", NO_ANSWER]
        assert (
            summarize_failures(failures) == f"the model server {NO_ANSWER} or refused the connection, 3 times in a row"
        )

    def test_of_one_failure_counts_nothing(self):
        assert summarize_failures([NO_ANSWER]) == f"the model server {NO_ANSWER}"
