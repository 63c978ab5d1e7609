"""When samples are taken, in which steps, and what is kept: with real processes, on a clock that the test sets."""

import math
import os
from dataclasses import replace

import pytest

from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.supervise.policy.state import State
from drum_supervisor.supervise.service.waiters import WAKE_AFTER
from drum_supervisor.supervise.stats import sampler as module
from drum_supervisor.supervise.stats.sampler import Sampler, sample_interval
from drum_supervisor.supervise.stats.scan import ScanTarget
from drum_supervisor.supervise.stats.usage_ring import MAX_POINTS
from tests.unit.contexts import make_context


class Clock:
    """A clock that the test sets; `tick` passes with each reading."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tick = 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


class Bench:
    """A sampler, and what it depends on: the running programs, and whether a worker is starting."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.woken = 0
        self.context = make_context(self.clock, wake=self.wake)
        self.timers = self.context.timers
        self.targets: list[ScanTarget] = []
        self.cpu = 0.0
        self.sampler = Sampler(self.context, os.getpid(), lambda: list(self.targets), lambda: self.cpu)

    def wake(self) -> None:
        self.woken += 1

    def set_starting(self, starting: bool) -> None:
        self.context.service.state = State(starting=frozenset({1} if starting else ()))

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.now += seconds
        self.timers.ring()

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.turn(1.0)

    def next_after(self) -> float:
        due_at = self.timers.at(self.sampler)
        return float("inf") if due_at is None else due_at - self.clock.now

    def times(self) -> list[float]:
        return self.sampler.history(0.0)["times"]

    def sample(self, max_age=0.0, shared_memory=False, watching=False):
        request = self.sampler.request_sample(max_age, shared_memory, watching)
        found = request()
        while found is None:
            self.turn()
            found = request()
        return found


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def worker(spawner, bench):
    """A worker of the model server, with a child."""
    process = spawner.parent(1)
    target = ScanTarget("model-server", process.pid, bench.clock.now, 1)
    bench.targets.append(target)
    return target


def end(spawner, bench, target):
    """Kill and reap a program."""
    (process,) = (each for each in spawner._started if each.pid == target.pid)
    process.kill()
    process.wait()
    bench.targets.remove(target)


@pytest.mark.parametrize(
    ("is_serving", "is_urgent", "cost", "seconds"),
    [
        (False, False, 0.001, math.inf),
        (False, True, 0.001, math.inf),
        (True, True, 0.0, 1.0),
        (True, True, 0.04, 1.0),
        (True, True, 0.1, 2.0),
        (True, False, 0.0, 10.0),
        (True, False, 0.001, 10.0),
        (True, False, 0.01, 20.0),
        (True, False, 0.1, 60.0),
    ],
)
def test_sample_interval_depends_on_urgency_and_cost(is_serving, is_urgent, cost, seconds):
    assert sample_interval(is_serving, is_urgent, cost) == pytest.approx(seconds)


class TestInterval:
    def test_nothing_is_scheduled_while_nothing_runs(self, bench):
        assert bench.next_after() == math.inf

    def test_first_sample_is_taken_when_a_program_starts(self, bench, worker):
        bench.sampler.sample_soon()
        bench.turn()
        assert bench.times() == [bench.clock.now]

    def test_fast_during_startup_and_slow_afterwards(self, bench, worker):
        bench.set_starting(True)
        bench.sampler.sample_soon()
        bench.turn()
        bench.pass_by(10)
        assert len(bench.times()) == 11
        bench.set_starting(False)
        bench.pass_by(100)
        assert len(bench.times()) in (20, 21, 22)

    def test_fast_while_a_client_watches(self, bench, worker):
        bench.sample(watching=True)
        bench.pass_by(4)
        assert len(bench.times()) == 5
        bench.pass_by(30)
        assert len(bench.times()) < 12

    def test_new_watcher_does_not_wait_for_the_slow_interval(self, bench, worker):
        bench.sampler.sample_soon()
        bench.turn()
        assert bench.next_after() == pytest.approx(10.0)
        bench.sampler.request_sample(1000.0, False, watching=True)
        assert bench.next_after() == pytest.approx(1.0)

    def test_request_without_watching_keeps_the_interval(self, bench, worker):
        bench.sample(watching=False)
        assert bench.next_after() == pytest.approx(10.0)

    def test_costly_samples_are_taken_less_often(self, bench, worker):
        bench.sampler._cpu_clock = iter(range(1000)).__next__  # a second of CPU in each turn
        bench.set_starting(True)
        bench.sampler.sample_soon()
        bench.turn()
        assert bench.next_after() == pytest.approx(20.0)

    def test_stops_without_model_server_but_keeps_history(self, bench, worker, spawner):
        bench.sampler.sample_soon()
        bench.turn()
        end(spawner, bench, worker)
        bench.pass_by(3600)
        assert bench.next_after() == math.inf
        assert len(bench.times()) == 1

    def test_continues_with_the_next_run(self, bench, worker, spawner):
        bench.sampler.sample_soon()
        bench.turn()
        end(spawner, bench, worker)
        bench.pass_by(20)
        process = spawner.parent(0)
        bench.targets.append(replace(worker, pid=process.pid, started=bench.clock.now))
        bench.sampler.sample_soon()
        bench.turn()
        assert len(bench.times()) == 2


class TestSteps:
    def test_the_loop_turns_in_between(self, bench, spawner):
        process = spawner.parent(9)
        bench.targets.append(ScanTarget("model-server", process.pid, 0.0, 1))
        bench.clock.tick = module.TURN_SECONDS / 3
        request = bench.sampler.request_sample(0.0, False, False)
        turns = 0
        while request() is None:
            assert bench.next_after() == 0.0
            bench.turn()
            turns += 1
        assert turns >= 5
        assert len(request().trees["model-server"].processes) == 10

    def test_program_started_during_a_scan_is_in_the_next(self, bench, worker, spawner):
        bench.clock.tick = module.TURN_SECONDS
        request = bench.sampler.request_sample(0.0, False, False)
        request()
        bench.turn()
        process = spawner.parent(0)
        bench.targets.append(ScanTarget("error-server", process.pid, 0.0))
        bench.sampler.sample_soon()
        while request() is None:
            bench.turn()
        assert "error-server" not in request().trees
        bench.turn()
        while bench.next_after() == 0.0:
            bench.turn()
        assert "error-server" in bench.sampler._log._records

    def test_program_that_exits_during_a_scan_is_not_recorded(self, bench, worker, spawner):
        bench.clock.tick = module.TURN_SECONDS
        bench.sampler.sample_soon()
        bench.turn()
        end(spawner, bench, worker)
        while bench.next_after() == 0.0:
            bench.turn()
        assert bench.times() == []


class TestRequestSample:
    def test_returns_all_programs_and_the_supervisor(self, bench, worker):
        sample = bench.sample()
        tree = sample.trees["model-server"]
        assert [process.parent_pid for process in tree.processes] == [os.getpid(), worker.pid]
        assert tree.pid == worker.pid
        assert tree.processes[1].command_line == ("sh", "-c", "echo up; read line")
        assert sample.supervisor.pid == os.getpid()
        bench.turn(WAKE_AFTER)
        assert bench.woken == 1

    def test_works_when_nothing_runs(self, bench):
        assert bench.sample().trees == {}

    def test_young_sample_is_reused(self, bench, worker):
        first = bench.sample()
        bench.turn(0.9)
        assert bench.sampler.request_sample(1.0, False, False)() is first
        bench.turn(0.2)
        assert bench.sampler.request_sample(1.0, False, False)() is None

    def test_age_counts_from_the_request(self, bench, worker):
        first = bench.sample()
        bench.turn(0.5)
        request = bench.sampler.request_sample(1.0, False, False)
        bench.turn(100.0)
        assert request() is not None
        assert request().started >= first.started

    def test_shared_memory_needs_a_sample_that_has_it(self, bench, worker):
        bench.sample()
        assert bench.sampler.request_sample(1.0, True, False)() is None
        assert bench.sample(1.0, shared_memory=True).trees["model-server"].processes[0].pss_bytes > 0

    def test_sample_with_shared_memory_serves_both(self, bench, worker):
        sample = bench.sample(shared_memory=True)
        assert bench.sampler.request_sample(1.0, False, False)() is sample

    def test_simultaneous_requests_share_a_sample(self, bench, worker):
        requests = [bench.sampler.request_sample(0.0, shared, False) for shared in (False, True)]
        assert [request() for request in requests] == [None, None]
        bench.turn()
        assert requests[0]() is requests[1]() is not None

    def test_scan_started_before_the_request_is_not_used(self, bench, worker):
        bench.clock.tick = module.TURN_SECONDS
        first = bench.sampler.request_sample(0.0, False, False)
        first()
        bench.turn()
        second = bench.sampler.request_sample(0.0, False, False)
        while second() is None:
            bench.turn()
        assert second().started > bench.times()[0]

    def test_abandoned_requests_leave_nothing(self, bench, worker):
        for _ in range(100):
            bench.sampler.request_sample(0.0, True, False)()
        bench.turn()
        bench.turn()
        assert bench.next_after() == pytest.approx(10.0)


class TestUsageSeries:
    def test_of_an_exited_run_ends_with_its_last_sample(self, bench, worker, spawner):
        bench.set_starting(True)
        bench.sampler.sample_soon()
        bench.turn()
        bench.pass_by(3)
        end(spawner, bench, worker)
        bench.clock.now += 0.5
        usage_series = bench.sampler.usage_series(worker.name, worker.pid)
        assert usage_series.seconds_before == (3.5, 2.5, 1.5, 0.5)
        assert all(rss > 0 for rss in usage_series.rss_bytes)

    def test_of_a_running_program_ends_now(self, bench, worker):
        bench.sampler.sample_soon()
        bench.turn()
        bench.clock.now += 5.0
        assert bench.sampler.usage_series(worker.name, worker.pid).seconds_before == (5.0, 0.0)

    def test_of_a_large_tree_ends_with_the_last_sample(self, bench, spawner):
        process = spawner.parent(module.MAX_STEPS_AT_ONCE // 2)
        bench.targets.append(ScanTarget("model-server", process.pid, 0.0, 1))
        bench.sampler.sample_soon()
        bench.turn()
        bench.clock.now += 5.0
        assert bench.sampler.usage_series("model-server", process.pid).seconds_before == (5.0,)

    def test_of_an_unknown_run_is_none(self, bench, worker, spawner):
        assert bench.sampler.usage_series("model-server", 1) is None
        bench.sampler.sample_soon()
        bench.turn()
        assert bench.sampler.usage_series("model-server", 1) is None

    def test_does_not_include_earlier_runs(self, bench, worker, spawner):
        bench.set_starting(True)
        bench.sampler.sample_soon()
        bench.turn()
        bench.pass_by(5)
        end(spawner, bench, worker)
        process = spawner.parent(0)
        bench.targets.append(replace(worker, pid=process.pid))
        usage_series = bench.sampler.usage_series(worker.name, process.pid)
        assert isinstance(usage_series, UsageSeries)
        assert usage_series.seconds_before == (0.0,)


def test_memory_is_bounded(bench, worker):
    bench.set_starting(True)
    bench.sampler.sample_soon()
    for _ in range(800):
        bench.turn(1.0)
    size = len(bench.sampler._log.history)
    for _ in range(2000):
        bench.turn(1.0)
    assert abs(len(bench.sampler._log.history) - size) <= 1
    assert len(bench.sampler._reader._known) <= 3
    assert bench.timers.seconds_left() <= 1.0


def test_history_is_the_sum_of_workers(bench, spawner):
    targets = []
    for number in (1, 2):
        process = spawner.parent(0)
        targets.append(ScanTarget(f"model-server-{number}", process.pid, 0.0, number))
    bench.targets = [*targets, ScanTarget("error-server", os.getpid(), 0.0)]
    bench.sampler.sample_soon()
    bench.turn()
    curves = [bench.sampler._log.usage_series(target.name, target.pid, bench.clock.now) for target in targets]
    assert bench.sampler.history(0.0)["rss_bytes"] == [sum(usage_series.rss_bytes[0] for usage_series in curves)]


def test_many_workers_have_shorter_series():
    assert Sampler(make_context(workers=199), 1, list)._log._capacity == MAX_POINTS


class TestCpuOfAllRuns:
    def test_cpu_of_runs_never_sampled_counts(self, bench):
        bench.sampler.record_exit("model-server", 7, 1.5)
        bench.sampler.record_exit("model-server", 8, 0.5)
        assert bench.sampler.cpu_seconds("model-server") == 2.0
        assert bench.sampler.cpu_seconds("error-server") == 0.0

    def test_it_never_falls(self, bench, spawner):
        seen = [bench.sampler.cpu_seconds("model-server")]
        for said_at_the_end in (0.0, 100.0):
            process = spawner.start("while :; do :; done")
            bench.targets = [ScanTarget("model-server", process.pid, bench.clock.now, worker=1)]
            bench.sample()
            seen.append(bench.sampler.cpu_seconds("model-server"))
            process.kill()
            process.wait()
            bench.targets = []
            bench.sampler.record_exit("model-server", process.pid, said_at_the_end)
            seen.append(bench.sampler.cpu_seconds("model-server"))
        assert seen == sorted(seen)
        assert seen[-1] >= 100.0
