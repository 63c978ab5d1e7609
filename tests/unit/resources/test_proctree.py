"""Processes are found wherever they hide, read from /proc."""

import os
import signal
from pathlib import Path

import pytest

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine import prctl
from tests.unit.processes import DAEMON, FOR_EVER, NAME, died_of

NOBODY_THERE = 2**22 + 1  # larger than any pid


class TestChildren:
    def test_are_the_direct_ones(self, family):
        process = family.start(f"{FOR_EVER} & echo $!; sh -c '{FOR_EVER} & wait' & echo $!; wait")
        pids = [int(family.line(process)) for _ in range(2)]
        assert sorted(proctree.children(process.pid)) == sorted(pids)

    def test_of_a_process_that_is_gone_are_none(self):
        assert proctree.children(NOBODY_THERE) == []

    def test_of_one_without_any_are_none(self, family):
        process = family.start("echo; read line")
        family.line(process)
        assert proctree.children(process.pid) == []


class TestDescendants:
    def test_are_all_below_also_those_with_a_session_of_their_own(self, family):
        process = family.start(
            f"sh -c 'echo $$; setsid sh -c \"echo \\$\\$; {FOR_EVER} & echo \\$!; wait\" & wait' & wait"
        )
        pids = [int(family.line(process)) for _ in range(3)]
        assert sorted(proctree.descendants(process.pid)) == sorted(pids)
        assert os.getsid(pids[1]) != os.getsid(process.pid)

    def test_of_a_process_that_is_gone_are_none(self):
        assert list(proctree.descendants(NOBODY_THERE)) == []


class TestProgramOf:
    @pytest.mark.parametrize("name", ["model-server-2", "größe", "a=b", ""])
    def test_is_what_the_environment_says(self, family, name):
        process = family.start("echo up; read line", {NAME: name})
        family.line(process)
        assert proctree.program_of(process.pid) == name

    def test_is_not_taken_from_a_variable_that_only_looks_like_it(self, family):
        process = family.start("echo up; read line", {f"MY_{NAME}": "x", "OTHER": f"{NAME}=y", f"{NAME}_2": "z"})
        family.line(process)
        assert proctree.program_of(process.pid) == ""

    def test_of_a_process_that_is_gone_is_not_known(self):
        assert proctree.program_of(NOBODY_THERE) == ""


class TestLooksLikeAWorker:
    def test_is_not_known_of_one_that_is_gone(self):
        assert proctree.looks_like_a_worker(NOBODY_THERE, os.getpid()) is None

    def test_is_not_known_of_one_that_is_dead_already(self, family):
        process = family.start("exit")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert proctree.looks_like_a_worker(process.pid, os.getpid()) is None

    def test_is_false_for_another_program(self, family):
        process = family.start("echo up; read line")
        family.line(process)
        assert proctree.looks_like_a_worker(process.pid, os.getpid()) is False


class TestIsZombie:
    def test_is_false_for_the_living(self):
        assert not proctree.is_zombie(os.getpid())

    def test_is_true_for_those_that_are_gone(self):
        assert proctree.is_zombie(NOBODY_THERE)

    def test_is_not_fooled_by_a_name(self, family, tmp_path: Path):
        program = tmp_path / "a) Z (b"
        program.write_text("#!/bin/sh\necho $$; read line\n")
        program.chmod(0o755)
        process = family.start(f"'{program}'; exit")
        pid = int(family.line(process))
        assert Path(f"/proc/{pid}/comm").read_text() == "a) Z (b\n"
        assert not proctree.is_zombie(pid)


class TestSignalEach:
    def test_reaches_all_that_are_there(self, family):
        first, second = (family.orphan(DAEMON) for _ in range(2))
        proctree.signal_each([first.pid, NOBODY_THERE, second.pid], signal.SIGTERM)
        assert [first.died_of(), second.died_of()] == [signal.SIGTERM, signal.SIGTERM]

    def test_leaves_those_that_belong_to_others(self, as_nobody):
        assert as_nobody(lambda: sorted(proctree.signal_each([1], signal.SIGTERM))) == [1]


class TestMemory:
    def test_is_that_of_the_whole_tree(self, family):
        process = family.start(f"sh -c 'echo; {FOR_EVER} & echo; wait' & wait")
        for _ in range(2):
            family.line(process)
        whole = proctree.memory_bytes(process.pid)
        (child,) = proctree.children(process.pid)
        part = proctree.memory_bytes(child)
        assert whole > part > 0
        assert whole % os.sysconf("SC_PAGE_SIZE") == 0

    def test_of_a_process_that_is_gone_is_not_known(self):
        assert proctree.memory_bytes(NOBODY_THERE) is None

    def test_of_too_many_processes_is_not_known(self, family):
        process = family.start(f"{FOR_EVER} & {FOR_EVER} & echo; wait")
        family.line(process)
        assert proctree.memory_bytes(process.pid, most=2) > 0
        assert proctree.memory_bytes(process.pid, most=1) is None


class TestDieWithParent:
    def test_is_told_by_a_signal_when_the_parent_is_killed(self, family, in_child):
        reading, writing = os.pipe()

        def parent() -> int:
            supervisor = os.getpid()
            pid = os.fork()
            if pid == 0:
                prctl.die_with_parent(supervisor)
                os.write(writing, b"asked")
                while True:
                    signal.pause()
            os.read(reading, 5)
            return pid  # and dies

        pid = in_child(parent)
        os.close(reading)
        os.close(writing)
        assert died_of(pid) == signal.SIGTERM

    def test_is_told_at_once_when_the_parent_is_dead_already(self, family):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            prctl.die_with_parent(NOBODY_THERE)
            os._exit(0)
        assert died_of(pid) == signal.SIGTERM
