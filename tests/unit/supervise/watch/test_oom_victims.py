"""OOM kills below servers that go on: which process is the victim, in trees that a table describes."""

import signal
from dataclasses import dataclass, field

import pytest

from drum_supervisor.resources.cgroup_paths import Group, Groups
from drum_supervisor.resources.oom import OomKillCounter
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.programs.program import Program
from drum_supervisor.supervise.watch.descendants import Descendants
from drum_supervisor.supervise.watch.worker_watch import (
    ATTRIBUTION_SECONDS,
    OOM_INTERVAL,
    PROBATION_INTERVAL,
    WALK_CPU_SHARE,
    Victim,
    WorkerWatch,
)
from tests.unit.process_table import MASTER, FakeProcessTable, exited

KILLED = int(signal.SIGKILL)


@dataclass
class Watched:
    """A control group of version 2, the runs in it, and their descendants."""

    directory: object
    now: float = 0.0
    found: list[tuple[str, Victim]] = field(default_factory=list)
    tables: dict[int, FakeProcessTable] = field(default_factory=dict)
    kills: int = 0
    counts: bool = True

    def __post_init__(self) -> None:
        self.write()
        self.counter = OomKillCounter(Groups(memory=Group(self.directory, self.directory, 2)), self.clock)
        self.timers = Timers(self.clock)
        self.watched = WorkerWatch(self.timers, self.on_death, self.on_kill, self.below)

    def clock(self) -> float:
        return self.now

    def count(self, kills: int = 1) -> None:
        """Let the kernel count kills."""
        self.kills += kills
        self.write()

    def write(self) -> None:
        if self.counts:
            (self.directory / "memory.events").write_text(f"oom {self.kills}\noom_kill {self.kills}\n")

    def on_kill(self, run: Run, victim: Victim) -> None:
        self.found.append((run.program.name, victim))

    def on_death(self, run: Run, pid: int, status: int | None) -> None:
        raise AssertionError("no run is on probation")

    def below(self, pid: int, clock) -> Descendants:
        return Descendants(pid, clock, self.tables[pid])

    def run(self, pid: int = MASTER, on_probation: bool = False) -> Run:
        self.tables[pid] = FakeProcessTable()
        run = Run(Program(f"server-{pid}", "server", ("x",), 1), pid=pid)
        self.watched.add(run, self.counter, on_probation)
        return run

    def kill(self, table: FakeProcessTable, *pids: int, status: int | None = KILLED) -> None:
        """Let the kernel kill and count these processes."""
        self.count(len(pids))
        for pid in pids:
            table.exit(pid, status)

    def check(self, times: int = 1) -> list[Victim]:
        before = len(self.found)
        for _ in range(times):
            self.now += OOM_INTERVAL
            self.timers.ring()
        return [victim for _, victim in self.found[before:]]


@pytest.fixture
def group(tmp_path) -> Watched:
    return Watched(tmp_path)


@pytest.fixture
def run(group: Watched) -> Run:
    return group.run()


@pytest.fixture
def table(group: Watched, run: Run) -> FakeProcessTable:
    table = group.tables[MASTER]
    table.fork(10, 11)
    group.check(2)
    return table


def test_victim_is_found_while_other_runs_start(group, table):
    group.kill(table, 10)
    for pid in range(MASTER + 1, MASTER + 4):
        group.now += 0.6 * OOM_INTERVAL
        group.run(pid)
        group.timers.ring()
    assert group.found == [(f"server-{MASTER}", Victim(10, is_worker=True, is_confirmed=True))]


class TestVictim:
    def test_is_the_worker_that_exited(self, group, table):
        group.kill(table, 10)
        assert group.check() == [Victim(10, is_worker=True, is_confirmed=True)]
        assert group.check(20) == []

    def test_may_have_just_started(self, group, table):
        table.fork(12)
        group.check()
        group.kill(table, 12)
        assert [victim.pid for victim in group.check()] == [12]

    def test_may_be_a_helper(self, group, table):
        table.fork(20, parent=10, helper=True)
        group.check()
        group.kill(table, 20)
        assert group.check() == [Victim(20, is_worker=False, is_confirmed=True)]

    def test_is_no_worker_if_a_worker_forked_it(self, group, table):
        table.fork(20, parent=10)
        group.check()
        group.kill(table, 20)
        assert group.check() == [Victim(20, is_worker=False, is_confirmed=True)]

    def test_is_found_below_a_start_script(self, group, table):
        table.fork(5, helper=True)
        table.fork(30, parent=5)
        group.check()
        group.kill(table, 30)
        assert group.check() == [Victim(30, is_worker=True, is_confirmed=True)]

    def test_is_a_worker_even_if_exiting_at_the_second_check(self, group, table):
        table.fork(12)
        group.check()
        table.exiting.add(12)
        group.count()
        assert group.check() == []
        table.exit(12, KILLED)
        assert group.check() == [Victim(12, is_worker=True, is_confirmed=True)]

    @pytest.mark.parametrize("logged", [True, False])
    @pytest.mark.parametrize("log_is_late", [True, False])
    def test_seen_only_while_exiting_is_a_worker_if_logged(self, group, table, run, logged, log_is_late):
        table.fork(12)
        table.exiting.add(12)
        group.count()
        assert group.check() == []
        table.exit(12, KILLED)
        if log_is_late:
            assert group.check() == []
        run.stderr_tail.add(b"INFO:     Child process [12] died\n" * logged)
        assert group.check(2) == [Victim(12, is_worker=logged, is_confirmed=True)]

    def test_unclassified_victim_does_not_delay_others(self, group, table, run):
        table.fork(12)
        table.exiting.add(12)
        group.check()
        group.kill(table, 10, 12)
        assert group.check() == [Victim(10, is_worker=True, is_confirmed=True)]
        run.stderr_tail.add(b"[ERROR] Worker (pid:12) was sent SIGKILL! Perhaps out of memory?\n")
        assert group.check() == [Victim(12, is_worker=True, is_confirmed=True)]
        assert group.check(20) == []

    def test_unclassified_process_is_forgotten_without_a_kill(self, group, table):
        table.fork(12)
        table.exiting.add(12)
        group.check()
        table.exit(12, KILLED)
        group.check(2)
        group.kill(table, 10)
        assert [victim.pid for victim in group.check()] == [10]

    def test_may_be_several(self, group, table):
        group.kill(table, 10, 11)
        assert {victim.pid for victim in group.check()} == {10, 11}

    def test_may_exit_slowly(self, group, table):
        group.count()
        assert group.check(3) == []
        table.exit(11, KILLED)
        assert [victim.pid for victim in group.check()] == [11]

    def test_needs_a_counted_kill(self, group, table):
        table.exit(10, KILLED)
        assert group.check(10) == []

    def test_did_not_exit_before_the_kill(self, group, table):
        table.exit(10, KILLED)
        group.check()
        group.kill(table, 11)
        assert [victim.pid for victim in group.check()] == [11]

    @pytest.mark.parametrize("status", [exited(0), exited(1), int(signal.SIGTERM), int(signal.SIGSEGV)])
    def test_did_not_exit_in_another_way(self, group, table, status):
        table.exit(10, status)
        group.kill(table, 11)
        assert [victim.pid for victim in group.check()] == [11]


class TestKernelsWithoutWaitStatus:
    def test_exited_process_is_the_victim(self, group, table):
        group.kill(table, 10, status=None)
        assert group.check() == [Victim(10, is_worker=True, is_confirmed=False)]

    def test_workers_come_before_helpers(self, group, table):
        table.fork(20, parent=10, helper=True)
        group.check()
        table.exit(20, None)
        group.kill(table, 11, status=None)
        assert [victim.pid for victim in group.check()] == [11]

    def test_logged_victims_come_first(self, group, table, run):
        table.exit(10, None)
        group.kill(table, 11, status=None)
        run.stderr_tail.add(b"[ERROR] Worker (pid:11) was sent SIGKILL! Perhaps out of memory?\n")
        assert group.check() == [Victim(11, is_worker=True, is_confirmed=True)]


class TestVictimNeverSeen:
    def test_is_known_from_the_log_of_the_master(self, group, table, run):
        group.count()
        run.stderr_tail.add(b"[ERROR] Worker (pid:77) was sent SIGKILL! Perhaps out of memory?\n")
        assert group.check() == [Victim(77, is_worker=True, is_confirmed=True)]

    def test_is_reported_once(self, group, table, run):
        group.count()
        run.stderr_tail.add(b"INFO:     Child process [77] died\n")
        assert group.check() == [Victim(77, is_worker=True, is_confirmed=False)]
        group.kill(table, 10)
        assert [victim.pid for victim in group.check()] == [10]

    def test_is_unknown_if_nothing_is_found_in_time(self, group, table):
        group.count(2)
        assert group.check(int(ATTRIBUTION_SECONDS)) == []
        assert group.check() == [Victim(), Victim()]
        assert group.check(20) == []

    def test_is_reported_in_time_while_others_are_killed(self, group, table):
        group.count()
        for number in range(int(ATTRIBUTION_SECONDS) + 1):
            table.fork(100 + number)
            group.check()
            group.kill(table, 100 + number)
        assert Victim() in [victim for _, victim in group.found]


class TestRunsOfAGroup:
    def test_are_distinguished(self, group, table):
        group.run(2)
        group.tables[2].fork(50, parent=2)
        group.check()
        group.kill(group.tables[2], 50)
        group.check()
        assert group.found == [("server-2", Victim(50, is_worker=True, is_confirmed=True))]

    def test_that_exited_account_for_kills(self, group, table, run):
        group.count()
        run.status = KILLED
        group.run(2)
        assert group.check(20) == []

    @pytest.mark.parametrize("end", ["outcome_reported", "stop_requested"])
    def test_that_failed_or_are_stopped_are_not_watched(self, group, table, run, end):
        setattr(run, end, True)
        group.kill(table, 10)
        assert group.check(20) == []
        assert table.opened == set()

    def test_are_watched_again_after_a_failure(self, group, table, run):
        run.outcome_reported = True
        group.kill(table, 10)
        group.check()
        group.run(2)
        group.tables[2].fork(50, parent=2)
        group.check()
        group.kill(group.tables[2], 50)
        assert [victim.pid for victim in group.check()] == [50]

    def test_that_exited_leave_the_counter_watched(self, group, table, run):
        run.outcome_reported = True
        group.check()
        group.count()
        group.check()
        assert group.counter.last_kill_at == group.now


def test_nothing_is_watched_without_a_counter(tmp_path):
    group = Watched(tmp_path, counts=False)
    group.run()
    assert group.timers.seconds_left() == float("inf")


def test_one_walk_serves_both_questions(group):
    """A server on probation is walked ten times a second; looking for OOM kills adds no walk."""
    run = group.run(on_probation=True)
    walks: list[float] = []

    def walk(pid: int) -> list[int]:
        walks.append(group.now)
        group.now += 0.001
        return []

    group.tables[MASTER].children = walk
    for _ in range(20):
        group.now += PROBATION_INTERVAL
        group.timers.ring()
    assert run.is_starting
    assert len(walks) == 20


def test_slow_trees_are_walked_less_often(group, run):
    table = group.tables[MASTER]
    walks: list[float] = []

    def slow(pid: int) -> list[int]:
        walks.append(group.now)
        group.now += 10.0 * WALK_CPU_SHARE
        return []

    table.children = slow
    group.check(25)
    assert len(walks) == 3


@pytest.mark.parametrize(
    ("victim", "words"),
    [
        (Victim(7, is_worker=True), "worker 7 of model-server (pid 5)"),
        (Victim(7), "process 7 below model-server (pid 5)"),
        (Victim(), "a process in the control group of model-server (pid 5)"),
    ],
)
def test_victim_is_described(victim, words):
    assert victim.describe("model-server (pid 5)") == words
