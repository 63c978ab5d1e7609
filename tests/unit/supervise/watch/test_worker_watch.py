"""Workers that die while their server starts, or soon after: when that fails a run, in trees that a table describes."""

from dataclasses import dataclass, field

import pytest

from drum_supervisor.resources.cgroup_paths import Groups
from drum_supervisor.resources.oom import OomKillCounter
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.programs.program import Program
from drum_supervisor.supervise.watch.descendants import Descendants
from drum_supervisor.supervise.watch.worker_watch import MIN_PROBATION, PROBATION_INTERVAL, Victim, WorkerWatch
from tests.unit.process_table import MASTER, FakeProcessTable, exited


@dataclass
class Watched:
    """One run on probation, on a kernel without a counter of OOM kills."""

    now: float = 0.0
    deaths: list[tuple[int, int | None]] = field(default_factory=list)
    table: FakeProcessTable = field(default_factory=FakeProcessTable)

    def __post_init__(self) -> None:
        self.timers = Timers(self.clock)
        self.watch = WorkerWatch(self.timers, self.on_death, self.on_oom_kill, self.below)
        self.run = Run(Program("server", "server", ("x",), 1), started=self.now, pid=MASTER)
        self.watch.add(self.run, OomKillCounter(Groups(), self.clock), on_probation=True)

    def clock(self) -> float:
        return self.now

    def on_death(self, run: Run, pid: int, status: int | None) -> None:
        self.deaths.append((pid, status))
        run.outcome_reported = True

    def on_oom_kill(self, run: Run, victim: Victim) -> None:
        raise AssertionError("this kernel counts no kills")

    def below(self, pid: int, clock) -> Descendants:
        return Descendants(pid, clock, self.table)

    def check(self, seconds: float = 3 * PROBATION_INTERVAL) -> list[tuple[int, int | None]]:
        for _ in range(round(seconds / PROBATION_INTERVAL)):
            self.now += PROBATION_INTERVAL
            self.timers.ring()
        return self.deaths

    def replace_worker(self, pid: int) -> None:
        """Let a worker fail, and its master fork the next one."""
        self.table.exit(pid, exited(1))
        self.check()
        self.table.fork(pid + 1)
        self.check()


@pytest.fixture
def watched() -> Watched:
    watched = Watched()
    watched.table.fork(10)
    watched.check()
    return watched


class TestStartUp:
    def test_fails_with_the_first_death(self, watched):
        watched.replace_worker(10)
        assert watched.deaths == [(10, exited(1))]

    def test_goes_on_without_a_death(self, watched):
        assert watched.check(60.0) == []

    def test_is_no_longer_watched_once_it_has_failed(self, watched):
        watched.run.outcome_reported = True
        watched.replace_worker(10)
        assert watched.deaths == []
        assert watched.table.opened == set()
        assert watched.timers.seconds_left() == float("inf")


class TestProbation:
    @pytest.fixture
    def ready(self, watched) -> Watched:
        watched.run.ready = True
        watched.check()
        return watched

    def test_takes_two_deaths(self, ready):
        ready.replace_worker(10)
        assert ready.deaths == []
        ready.replace_worker(11)
        assert ready.deaths == [(11, exited(1))]

    def test_ignores_workers_that_have_booted(self, ready):
        for pid in (10, 11):
            ready.check(5.0)
            ready.replace_worker(pid)
        assert ready.deaths == []

    def test_ends(self, ready):
        ready.check(MIN_PROBATION + 1.0)
        for pid in (10, 11):
            ready.replace_worker(pid)
        assert ready.deaths == []
        assert ready.table.opened == set()

    def test_lasts_three_times_as_long_as_a_slow_start(self, watched):
        watched.check(20.0)
        watched.run.ready = True
        watched.check(2 * 20.0)
        for pid in (10, 11, 12):
            watched.replace_worker(pid)
        assert [pid for pid, _ in watched.deaths] == [12]  # worker 10 had booted


class TestConfirmation:
    def test_is_not_needed_with_a_single_worker(self, watched):
        assert not watched.watch.needs_confirmation()

    def test_of_several_workers_takes_half_the_first_time(self, watched):
        watched.table.fork(11)
        watched.check(10.0)
        assert watched.watch.needs_confirmation()
        watched.check(4.0)
        assert watched.watch.needs_confirmation()
        watched.check(2.0)
        assert not watched.watch.needs_confirmation()


class TestFatalDeath:
    LINE = b"[ERROR] Worker (pid:10) exited with code 3.\n"

    def test_has_the_status_of_the_master(self, watched):
        watched.run.stderr_tail.add(self.LINE)
        assert watched.watch.find_fatal_death(watched.run) is None
        watched.run.status = exited(4)
        assert watched.watch.find_fatal_death(watched.run) is None
        watched.run.status = exited(3)
        assert watched.watch.find_fatal_death(watched.run) == 10

    def test_is_unknown_after_probation(self, watched):
        watched.run.ready = True
        watched.check(MIN_PROBATION + 1.0)
        watched.run.stderr_tail.add(self.LINE)
        watched.run.status = exited(3)
        assert watched.watch.find_fatal_death(watched.run) is None
