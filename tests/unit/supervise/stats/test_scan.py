"""One look at all programs, in steps; and CPU of trees whose processes come and go."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from drum_supervisor.resources.process_reader import ProcessReader
from drum_supervisor.resources.snapshot import ProcessResources
from drum_supervisor.supervise.stats.scan import Detail, ScanTarget, scan
from drum_supervisor.supervise.stats.usage_log import CpuMeter
from tests.unit.resources.test_proctree import NOBODY_THERE

ALL = Detail(full=True, shared_memory=True)


def run_scan(*targets, detail=ALL):
    """Return what is found, and in how many steps."""
    steps = scan(ProcessReader().read, targets, os.getpid(), 0.0, detail)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_finds_the_processes_of_each_program(family):
    one, two = family.parent(2), family.parent(0)
    first, second = ScanTarget("one", one.pid, 0.0, 1), ScanTarget("two", two.pid, 0.0)
    found, _ = run_scan(first, second)
    assert [process.parent_pid for process in found.trees[first]] == [os.getpid(), one.pid, one.pid]
    assert [process.pid for process in found.trees[second]] == [two.pid]
    assert found.supervisor.pid == os.getpid()
    assert found.trees[first][1].command_line == ("sh", "-c", "echo up; read line")
    assert found.trees[first][1].pss_bytes > 0


def test_each_step_is_at_most_one_process(family):
    process = family.parent(8)
    found, steps = run_scan(ScanTarget("one", process.pid, 0.0))
    assert len(found.trees[ScanTarget("one", process.pid, 0.0)]) == 9
    assert steps >= 18  # each process, and the children of each of its threads


@pytest.mark.parametrize("detail", [Detail(), Detail(full=True)])
def test_asks_the_kernel_for_no_more_than_is_wanted(family, detail):
    process = family.parent(0)
    target = ScanTarget("one", process.pid, 0.0)
    (found,) = run_scan(target, detail=detail)[0].trees[target]
    assert bool(found.command_line) == detail.full
    assert found.pss_bytes is None


def test_program_that_is_gone_or_dead_has_no_processes(family):
    process = family.start("exit 0")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    gone, dead = ScanTarget("gone", NOBODY_THERE, 0.0), ScanTarget("dead", process.pid, 0.0)
    assert run_scan(gone, dead)[0].trees == {gone: (), dead: ()}


def test_processes_that_come_and_go_do_not_keep_it_from_ending():
    busy = subprocess.Popen([sys.executable, "-c", "import subprocess\nwhile True: subprocess.Popen(['true']).wait()"])
    with busy:
        try:
            target = ScanTarget("busy", busy.pid, 0.0)
            assert all(run_scan(target)[0].trees[target][0].pid == busy.pid for _ in range(100))
        finally:
            busy.kill()


class TestQuestion:
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
    def test_is_answered_by_one_that_asks_no_less(self, has, wants, will_do):
        assert has.covers(wants) is will_do

    def test_of_two_asks_for_all_that_either_does(self):
        assert Detail(full=True).merge(Detail(shared_memory=True)) == ALL
        assert Detail(full=True).merge(None) == Detail(full=True)


def used(cpu_seconds, reaped=0.0, pid=7):
    return ProcessResources(pid, 1, "x", (), "running", 0.0, cpu_seconds, reaped, 0, None, None, 0, 1, None, 0.0)


class TestCpuMeter:
    def test_first_is_since_the_program_began(self):
        meter = CpuMeter(started=100.0)
        meter.update(104.0, [used(2.0)])
        assert (meter.percent, meter.seconds) == (50.0, 2.0)

    def test_then_is_since_the_look_before(self):
        meter = CpuMeter(100.0)
        meter.update(110.0, [used(10.0)])
        meter.update(112.0, [used(11.0)])
        assert (meter.percent, meter.seconds) == (50.0, 11.0)

    def test_of_processes_that_lived_shorter_than_the_time_between_is_counted(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0, reaped=5.0)])
        meter.update(11.0, [used(1.0, reaped=6.5)])
        assert (meter.percent, meter.seconds) == (150.0, 7.5)

    def test_of_one_that_ended_and_was_waited_for_counts_once(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(1.0), used(4.0, pid=8)])
        meter.update(11.0, [used(1.0, reaped=4.5)])
        assert (meter.percent, meter.seconds) == (50.0, 5.5)

    def test_of_a_new_process_is_counted_from_its_beginning(self):
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

    def test_of_a_very_short_time_is_that_of_the_look_before(self):
        meter = CpuMeter(0.0)
        meter.update(10.0, [used(5.0)])
        meter.update(10.05, [used(5.01)])
        assert (meter.percent, meter.seconds) == (50.0, 5.0)
        meter.update(10.2, [used(5.1)])
        assert (meter.percent, meter.seconds) == (50.0, 5.1)

    def test_of_a_program_that_was_just_started_is_no_wild_number(self):
        meter = CpuMeter(100.0)
        meter.update(100.001, [used(0.01)])
        assert meter.percent == 10.0

    def test_of_a_storm_of_forks_is_what_it_took(self):
        """For real: children that each live for some milliseconds, all CPU is theirs."""
        program = (
            "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-S', '-c', 'sum(range(10**6))'])"
        )
        storm = subprocess.Popen([sys.executable, "-c", program])
        with storm:
            try:
                target, meter, began = ScanTarget("storm", storm.pid, 0.0), CpuMeter(time.monotonic()), time.monotonic()
                while meter.seconds < 1.0:
                    meter.update(time.monotonic(), run_scan(target, detail=Detail())[0].trees[target])
                    assert time.monotonic() - began < 60
                own = sum(psutil.Process(storm.pid).cpu_times()[:2])
                assert own < meter.seconds / 2
            finally:
                storm.kill()
