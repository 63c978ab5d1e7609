"""Workers that are recycled because of their memory or their requests; and whether there is room for a standby."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from drum_supervisor.config.parsers import MemoryAmount, memory_amount
from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.report_pipe import RecycleMessage
from drum_supervisor.resources.headroom import Headroom, headroom
from drum_supervisor.servers.init_report import RequestLimit
from drum_supervisor.supervise.policy.events import Event, RestartCause, RestartRequested
from drum_supervisor.supervise.policy.state import State
from drum_supervisor.supervise.watch.memory_limit import CHECKS, MemoryLimitWatch
from tests.unit.contexts import add_run, make_context, taken

MIB = 1024 * 1024


class TestShare:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0", MemoryAmount()),
            ("512M", MemoryAmount(512 * MIB)),
            ("80%", MemoryAmount(percent=80)),
            (" 12.5 % ", MemoryAmount(percent=12.5)),
        ],
    )
    def test_is_parsed(self, text, expected):
        assert memory_amount(text) == expected
        assert memory_amount(str(expected)) == expected

    @pytest.mark.parametrize("text", ["", "0%", "101%", "-5%", "80 percent", "many"])
    def test_invalid_text_is_refused(self, text):
        with pytest.raises(ValueError, match="give a size like 2G, or a percentage like 80%"):
            memory_amount(text)

    def test_a_percentage_of_no_limit_is_nothing(self):
        assert MemoryAmount(percent=50).of(None) is None
        assert MemoryAmount(percent=50).of(300) == 150
        assert MemoryAmount(100).of(None) == 100
        assert not MemoryAmount()


class TestQuota:
    def test_recycles_once_after_its_requests_with_jitter(self):
        for _ in range(20):
            sent: list[object] = []
            quota = RequestLimit(20, sent.append)
            counts = []
            for _ in range(100):
                quota.count()
                counts.append(len(sent))
            assert sent == [RecycleMessage()]
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


class Watched:
    """A watch of ready workers, on a clock that the test sets."""

    def __init__(self, limit: MemoryAmount, pids: dict[int, int], copies: int = 1) -> None:
        self.now = 0.0
        self.lines: list[bytes] = []
        self.context = make_context(lambda: self.now, workers=2, write=self.lines.append)
        self.set_ready(pids)
        MemoryLimitWatch(self.context, limit, copies)

    def set_ready(self, pids: dict[int, int]) -> None:
        self.context.service.state = State(Phase.SERVING, ready=frozenset(pids))
        for slot, pid in pids.items():
            add_run(self.context, slot, pid)

    def check(self, times: int) -> list[Event]:
        """Return the restarts that so many checks have requested."""
        found = []
        for _ in range(times):
            self.now += self.context.timers.seconds_left()
            self.context.timers.ring()
            found += taken(self.context)
        return found


class TestMemoryLimit:
    def test_a_worker_is_recycled_once_after_some_checks(self, child):
        watched = Watched(MemoryAmount(10 * MIB), {2: child})
        assert watched.check(CHECKS - 1) == []
        (event,) = watched.check(1)
        assert event == RestartRequested(watched.now, 2, overlap=False, cause=RestartCause.MEMORY_LIMIT)
        (line,) = watched.lines
        assert f"worker 2 (pid {child}) uses ".encode() in line
        assert float(line.partition(b" uses ")[2].split()[0]) > 32
        assert line.endswith(b" MiB, more than 10.0 MiB (--max-worker-memory); recycling it\n")
        assert watched.check(10) == []

    def test_a_small_worker_is_left_alone(self, child):
        assert Watched(MemoryAmount(500 * MIB), {1: child}).check(10) == []
        assert Watched(MemoryAmount(30 * MIB), {1: child}, copies=4).check(10) == []

    def test_count_restarts_with_a_new_worker(self, child):
        watched = Watched(MemoryAmount(10 * MIB), {1: child})
        watched.check(CHECKS - 1)
        watched.set_ready({})
        watched.check(1)
        watched.set_ready({1: child})
        assert watched.check(CHECKS - 1) == []
        assert len(watched.check(1)) == 1

    def test_exited_worker_is_ignored(self):
        assert Watched(MemoryAmount(10 * MIB), {1: 2**22 + 1}).check(5) == []

    def test_checks_have_jitter(self):
        assert len({Watched(MemoryAmount(1), {}).context.timers.seconds_left() for _ in range(10)}) > 1


class TestHeadroom:
    def test_is_enough_up_to_what_is_free(self):
        assert Headroom(100, 100, 500).is_enough
        assert not Headroom(101, 100, 500).is_enough

    def test_sentence_has_the_figures(self):
        assert Headroom(300 * MIB, 100 * MIB, 512 * MIB).sentence == (
            "two copies do not fit: a worker uses 300.0 MiB, and of the memory limit of 512.0 MiB 100.0 MiB are free"
        )

    def test_of_no_or_exited_process_is_unknown(self):
        assert headroom([]) is None
        assert headroom([2**22 + 1]) is None

    def test_without_limit_is_unknown(self):
        assert headroom([os.getpid()]) is None or headroom([os.getpid()]).limit > 0
