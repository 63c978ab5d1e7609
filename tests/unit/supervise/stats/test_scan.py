"""A scan of all programs in steps, and the CPU time of trees whose processes come and go."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from drum_supervisor.resources.process_reader import ProcessReader, ProcessResources
from drum_supervisor.supervise.stats.scan import Detail, ScanTarget, scan
from drum_supervisor.supervise.stats.usage_log import CpuMeter
from tests.unit.resources.test_proctree import NO_SUCH_PID

ALL = Detail(full=True, shared_memory=True)


def run_scan(*targets, detail=ALL):
    """Return the scan, and the number of its steps."""
    steps = scan(ProcessReader().read, targets, os.getpid(), 0.0, detail)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_finds_the_processes_of_each_program(spawner):
    one, two = spawner.parent(2), spawner.parent(0)
    first, second = ScanTarget("one", one.pid, 0.0, 1), ScanTarget("two", two.pid, 0.0)
    found, _ = run_scan(first, second)
    assert [process.parent_pid for process in found.trees[first]] == [os.getpid(), one.pid, one.pid]
    assert [process.pid for process in found.trees[second]] == [two.pid]
    assert found.supervisor.pid == os.getpid()
    assert found.trees[first][1].command_line == ("sh", "-c", "echo up; read line")
    assert found.trees[first][1].pss_bytes > 0


def test_each_step_is_at_most_one_process(spawner):
    process = spawner.parent(8)
    found, steps = run_scan(ScanTarget("one", process.pid, 0.0))
    assert len(found.trees[ScanTarget("one", process.pid, 0.0)]) == 9
    assert steps >= 18  # each process, and the children of each of its threads


@pytest.mark.parametrize("detail", [Detail(), Detail(full=True)])
def test_reads_no_more_than_requested(spawner, detail):
    process = spawner.parent(0)
    target = ScanTarget("one", process.pid, 0.0)
    (found,) = run_scan(target, detail=detail)[0].trees[target]
    assert bool(found.command_line) == detail.full
    assert found.pss_bytes is None


def test_exited_program_has_no_processes(spawner):
    process = spawner.start("exit 0")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    gone, dead = ScanTarget("gone", NO_SUCH_PID, 0.0), ScanTarget("dead", process.pid, 0.0)
    assert run_scan(gone, dead)[0].trees == {gone: (), dead: ()}


def test_ends_in_spite_of_short_lived_processes():
    busy = subprocess.Popen([sys.executable, "-c", "import subprocess\nwhile True: subprocess.Popen(['true']).wait()"])
    with busy:
        try:
            target = ScanTarget("busy", busy.pid, 0.0)
            assert all(run_scan(target)[0].trees[target][0].pid == busy.pid for _ in range(100))
        finally:
            busy.kill()


class TestDetail:
    @pytest.mark.parametrize(
        ("has", "wants", "will_do"),
        [
            (Detail(), Detail(), True),
            (ALL, Detail(), True),
            (ALL, ALL, True),
            (Detail(full=True), ALL, False),
            (Detail(), Detail(full=True), False),
        ],
    )
    def test_covers_no_more_than_it_has(self, has, wants, will_do):
        assert has.covers(wants) is will_do

    def test_merge_has_all_of_both(self):
        assert Detail(full=True).merge(Detail(shared_memory=True)) == ALL
        assert Detail(full=True).merge(None) == Detail(full=True)


def used(cpu_seconds, reaped=0.0, pid=7):
    return ProcessResources(pid, 1, "x", (), "running", 0.0, cpu_seconds, reaped, 0, None, None, 0, 1, None, 0.0)


class TestCpuMeter:
    def test_first_percentage_is_since_the_start(self):
        meter = CpuMeter(started=100.0)
        meter.update(104.0, [used(2.0)])
        assert (meter.percent, meter.seconds) == (50.0, 2.0)

    def test_next_percentage_is_since_the_last_update(self):
        meter = CpuMeter(100.0)
        meter.update(110.0, [used(10.0)])
        meter.update(112.0, [used(11.0)])
        assert (meter.percent, meter.seconds) == (50.0, 11.0)

    def test_counts_short_lived_processes(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0, reaped=5.0)])
        meter.update(11.0, [used(1.0, reaped=6.5)])
        assert (meter.percent, meter.seconds) == (150.0, 7.5)

    def test_counts_a_reaped_process_once(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0), used(4.0, pid=8)])
        meter.update(11.0, [used(1.0, reaped=4.5)])
        assert (meter.percent, meter.seconds) == (50.0, 5.5)

    def test_counts_a_new_process_from_its_start(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0)])
        meter.update(11.0, [used(1.0), used(0.8, pid=8)])
        assert meter.percent == 80.0

    def test_never_falls_when_a_process_leaves_the_tree(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0), used(100.0, pid=8)])
        meter.update(11.0, [used(1.5)])
        assert (meter.percent, meter.seconds) == (0.0, 101.0)
        meter.update(12.0, [used(2.0)])
        assert (meter.percent, meter.seconds) == (50.0, 101.5)

    def test_ignores_an_update_that_follows_too_soon(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(5.0)])
        meter.update(10.05, [used(5.01)])
        assert (meter.percent, meter.seconds) == (50.0, 5.0)
        meter.update(10.2, [used(5.1)])
        assert (meter.percent, meter.seconds) == (50.0, 5.1)

    def test_of_a_program_just_started_is_plausible(self):
        meter = CpuMeter(100.0)
        meter.update(100.001, [used(0.01)])
        assert meter.percent == 10.0

    def test_counts_a_storm_of_forks(self):
        """For real: children that each live for some milliseconds, all CPU is theirs."""
        program = (
            "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-S', '-c', 'sum(range(10**6))'])"
        )
        storm = subprocess.Popen([sys.executable, "-c", program])
        with storm:
            try:
                target, meter, started = (
                    ScanTarget("storm", storm.pid, 0.0),
                    CpuMeter(time.monotonic()),
                    time.monotonic(),
                )
                while meter.seconds < 1.0:
                    meter.update(time.monotonic(), run_scan(target, detail=Detail())[0].trees[target])
                    assert time.monotonic() - started < 60
                own = sum(psutil.Process(storm.pid).cpu_times()[:2])
                assert own < meter.seconds / 2
            finally:
                storm.kill()
