"""One look at all programs, in steps; and CPU of trees whose processes come and go."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from drum_supervisor.resources.process_reader import ProcessReader, ProcessResources
from drum_supervisor.supervise.stats.scan import CpuMeter, Question, Top, survey
from tests.unit.resources.test_proctree import NO_SUCH_PID

ALL = Question(details=True, shared_memory=True)


def look(*tops, question=ALL):
    """Return what is found, and in how many steps."""
    steps = survey(ProcessReader(), tops, os.getpid(), 0.0, question)
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, count
        count += 1


def test_finds_the_processes_of_each_program(family):
    one, two = family.parent(2), family.parent(0)
    first, second = Top("one", one.pid, 0.0, 1), Top("two", two.pid, 0.0)
    found, _ = look(first, second)
    assert [process.parent_pid for process in found.trees[first]] == [os.getpid(), one.pid, one.pid]
    assert [process.pid for process in found.trees[second]] == [two.pid]
    assert found.supervisor.pid == os.getpid()
    assert found.trees[first][1].command_line == ("sh", "-c", "echo up; read line")
    assert found.trees[first][1].pss_bytes > 0


def test_each_step_is_at_most_one_process(family):
    process = family.parent(8)
    found, steps = look(Top("one", process.pid, 0.0))
    assert len(found.trees[Top("one", process.pid, 0.0)]) == 9
    assert steps >= 18  # each process, and the children of each of its threads


@pytest.mark.parametrize("question", [Question(), Question(details=True)])
def test_asks_the_kernel_for_no_more_than_is_wanted(family, question):
    process = family.parent(0)
    top = Top("one", process.pid, 0.0)
    (found,) = look(top, question=question)[0].trees[top]
    assert bool(found.command_line) == question.details
    assert found.pss_bytes is None


def test_program_that_is_gone_or_dead_has_no_processes(family):
    process = family.start("exit 0")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    gone, dead = Top("gone", NO_SUCH_PID, 0.0), Top("dead", process.pid, 0.0)
    assert look(gone, dead)[0].trees == {gone: (), dead: ()}


def test_processes_that_come_and_go_do_not_keep_it_from_ending():
    busy = subprocess.Popen([sys.executable, "-c", "import subprocess\nwhile True: subprocess.Popen(['true']).wait()"])
    with busy:
        try:
            top = Top("busy", busy.pid, 0.0)
            assert all(look(top)[0].trees[top][0].pid == busy.pid for _ in range(100))
        finally:
            busy.kill()


class TestQuestion:
    @pytest.mark.parametrize(
        ("has", "wants", "will_do"),
        [
            (Question(), Question(), True),
            (ALL, Question(), True),
            (ALL, ALL, True),
            (Question(details=True), ALL, False),
            (Question(), Question(details=True), False),
        ],
    )
    def test_is_answered_by_one_that_asks_no_less(self, has, wants, will_do):
        assert has.answers(wants) is will_do

    def test_of_two_asks_for_all_that_either_does(self):
        assert Question(details=True).also(Question(shared_memory=True)) == ALL
        assert Question(details=True).also(None) == Question(details=True)


def used(cpu_seconds, reaped=0.0, pid=7):
    return ProcessResources(pid, 1, "x", (), "running", 0.0, cpu_seconds, reaped, 0, None, None, 0, 1, None, 0.0)


class TestCpuMeter:
    def test_first_is_since_the_program_began(self):
        meter = CpuMeter(started=100.0)
        meter.look(104.0, [used(2.0)])
        assert (meter.percent, meter.seconds) == (50.0, 2.0)

    def test_then_is_since_the_look_before(self):
        meter = CpuMeter(100.0)
        meter.look(110.0, [used(10.0)])
        meter.look(112.0, [used(11.0)])
        assert (meter.percent, meter.seconds) == (50.0, 11.0)

    def test_of_processes_that_lived_shorter_than_the_time_between_is_counted(self):
        meter = CpuMeter(0.0)
        meter.look(10.0, [used(1.0, reaped=5.0)])
        meter.look(11.0, [used(1.0, reaped=6.5)])
        assert (meter.percent, meter.seconds) == (150.0, 7.5)

    def test_of_one_that_ended_and_was_waited_for_counts_once(self):
        meter = CpuMeter(0.0)
        meter.look(10.0, [used(1.0), used(4.0, pid=8)])
        meter.look(11.0, [used(1.0, reaped=4.5)])
        assert (meter.percent, meter.seconds) == (50.0, 5.5)

    def test_of_a_new_process_is_counted_from_its_beginning(self):
        meter = CpuMeter(0.0)
        meter.look(10.0, [used(1.0)])
        meter.look(11.0, [used(1.0), used(0.8, pid=8)])
        assert meter.percent == 80.0

    def test_never_falls_when_a_process_leaves_the_tree(self):
        meter = CpuMeter(0.0)
        meter.look(10.0, [used(1.0), used(100.0, pid=8)])
        meter.look(11.0, [used(1.5)])
        assert (meter.percent, meter.seconds) == (0.0, 101.0)
        meter.look(12.0, [used(2.0)])
        assert (meter.percent, meter.seconds) == (50.0, 101.5)

    def test_of_a_very_short_time_is_that_of_the_look_before(self):
        meter = CpuMeter(0.0)
        meter.look(10.0, [used(5.0)])
        meter.look(10.05, [used(5.01)])
        assert (meter.percent, meter.seconds) == (50.0, 5.0)
        meter.look(10.2, [used(5.1)])
        assert (meter.percent, meter.seconds) == (50.0, 5.1)

    def test_of_a_program_that_was_just_started_is_no_wild_number(self):
        meter = CpuMeter(100.0)
        meter.look(100.001, [used(0.01)])
        assert meter.percent == 10.0

    def test_of_a_storm_of_forks_is_what_it_took(self):
        """For real: children that each live for some milliseconds, all CPU is theirs."""
        program = (
            "import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-S', '-c', 'sum(range(10**6))'])"
        )
        storm = subprocess.Popen([sys.executable, "-c", program])
        with storm:
            try:
                top, meter, began = Top("storm", storm.pid, 0.0), CpuMeter(time.monotonic()), time.monotonic()
                while meter.seconds < 1.0:
                    meter.look(time.monotonic(), look(top, question=Question())[0].trees[top])
                    assert time.monotonic() - began < 60
                own = sum(psutil.Process(storm.pid).cpu_times()[:2])
                assert own < meter.seconds / 2
            finally:
                storm.kill()
