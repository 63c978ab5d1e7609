"""Workers that are to be replaced although they could go on: grown too large, or spent; and whether two copies fit."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from drum_supervisor.config.parsers import Share, share
from drum_supervisor.contract.report_pipe import Spent
from drum_supervisor.servers.init_report import RequestLimit
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.watch.headroom import Room, room_for_another
from drum_supervisor.supervise.watch.memory_limit import LOOKS, Grown, Renewal

MIB = 1024 * 1024


class TestShare:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("0", Share()), ("512M", Share(512 * MIB)), ("80%", Share(percent=80)), (" 12.5 % ", Share(percent=12.5))],
    )
    def test_is_read(self, text, expected):
        assert share(text) == expected
        assert share(str(expected)) == expected

    @pytest.mark.parametrize("text", ["", "0%", "101%", "-5%", "80 percent", "many"])
    def test_something_else_is_refused(self, text):
        with pytest.raises(ValueError, match="give a size like 2G, or a percentage like 80%"):
            share(text)

    def test_a_percentage_of_no_limit_is_nothing(self):
        assert Share(percent=50).of(None) is None
        assert Share(percent=50).of(300) == 150
        assert Share(100).of(None) == 100
        assert not Share()


class TestQuota:
    def test_asks_once_after_enough_requests_and_some_more_by_chance(self):
        for _ in range(20):
            sent: list[object] = []
            quota = RequestLimit(20, sent.append)
            counts = []
            for _ in range(100):
                quota.count()
                counts.append(len(sent))
            assert sent == [Spent()]
            assert 20 <= counts.index(1) + 1 <= 22


@pytest.fixture
def child() -> Iterator[int]:
    """A process that has some memory."""
    program = "kept = b'x' * (32 * 1024 * 1024); print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


class Looked:
    """A renewal on a clock of its own."""

    def __init__(self, most: Share, pids: dict[int, int], copies: int = 1) -> None:
        self.now = 0.0
        self.pids = pids
        self.grown: list[Grown] = []
        self.timers = Timers(lambda: self.now)
        Renewal(self.timers, most, lambda: self.pids, copies, self.grown.append)

    def look(self, times: int) -> int:
        """Return how many were found after so many looks."""
        for _ in range(times):
            self.now += self.timers.seconds_left()
            self.timers.ring()
        return len(self.grown)


class TestRenewal:
    def test_a_worker_is_told_of_once_after_some_looks(self, child):
        looked = Looked(Share(10 * MIB), {2: child})
        assert looked.look(LOOKS - 1) == 0
        assert looked.look(1) == 1
        assert (looked.grown[0].place, looked.grown[0].pid, looked.grown[0].most) == (2, child, 10 * MIB)
        assert looked.grown[0].used > 32 * MIB
        assert f"worker 2 (pid {child}) uses " in looked.grown[0].sentence
        assert looked.look(10) == 1

    def test_a_small_one_is_let_alone(self, child):
        assert Looked(Share(500 * MIB), {1: child}).look(10) == 0
        assert Looked(Share(30 * MIB), {1: child}, copies=4).look(10) == 0

    def test_a_new_worker_begins_anew(self, child):
        looked = Looked(Share(10 * MIB), {1: child})
        looked.look(LOOKS - 1)
        looked.pids = {}
        looked.look(1)
        looked.pids = {1: child}
        assert looked.look(LOOKS - 1) == 0
        assert looked.look(1) == 1

    def test_one_that_is_gone_is_no_trouble(self):
        assert Looked(Share(10 * MIB), {1: 2**22 + 1}).look(5) == 0

    def test_looks_do_not_come_at_the_same_time(self):
        assert len({Looked(Share(1), {}).timers.seconds_left() for _ in range(10)}) > 1


class TestRoom:
    def test_is_enough_up_to_what_is_free(self):
        assert Room(100, 100, 500).is_enough
        assert not Room(101, 100, 500).is_enough

    def test_says_the_figures(self):
        assert Room(300 * MIB, 100 * MIB, 512 * MIB).sentence == (
            "two copies do not fit: a worker uses 300.0 MiB, and of the memory limit of 512.0 MiB 100.0 MiB are free"
        )

    def test_of_nobody_or_somebody_who_is_gone_is_not_known(self):
        assert room_for_another([]) is None
        assert room_for_another([2**22 + 1]) is None

    def test_without_a_limit_there_is_none_to_be_told(self):
        assert room_for_another([os.getpid()]) is None or room_for_another([os.getpid()]).limit > 0
