import os
import signal
from pathlib import Path

import pytest

from drum_supervisor.resources import proctree
from tests.unit.processes import DAEMON, FOR_EVER, NAME

NO_SUCH_PID = 2**22 + 1  # larger than any pid


class TestChildren:
    def test_are_only_direct_children(self, spawner):
        process = spawner.start(f"{FOR_EVER} & echo $!; sh -c '{FOR_EVER} & wait' & echo $!; wait")
        pids = [int(spawner.line(process)) for _ in range(2)]
        assert sorted(proctree.children(process.pid)) == sorted(pids)

    def test_exited_process_has_none(self):
        assert proctree.children(NO_SUCH_PID) == []

    def test_childless_process_has_none(self, spawner):
        process = spawner.start("echo; read line")
        spawner.line(process)
        assert proctree.children(process.pid) == []


class TestDescendants:
    def test_include_processes_in_other_sessions(self, spawner):
        process = spawner.start(
            f"sh -c 'echo $$; setsid sh -c \"echo \\$\\$; {FOR_EVER} & echo \\$!; wait\" & wait' & wait"
        )
        pids = [int(spawner.line(process)) for _ in range(3)]
        assert sorted(proctree.descendants(process.pid)) == sorted(pids)
        assert os.getsid(pids[1]) != os.getsid(process.pid)

    def test_exited_process_has_none(self):
        assert list(proctree.descendants(NO_SUCH_PID)) == []


class TestProgramOf:
    @pytest.mark.parametrize("name", ["model-server-2", "größe", "a=b", ""])
    def test_is_read_from_the_environment(self, spawner, name):
        process = spawner.start("echo up; read line", {NAME: name})
        spawner.line(process)
        assert proctree.read_program(process.pid) == name

    def test_similar_variables_are_ignored(self, spawner):
        process = spawner.start("echo up; read line", {f"MY_{NAME}": "x", "OTHER": f"{NAME}=y", f"{NAME}_2": "z"})
        spawner.line(process)
        assert proctree.read_program(process.pid) == ""

    def test_is_unknown_for_an_exited_process(self):
        assert proctree.read_program(NO_SUCH_PID) == ""


class TestLooksLikeAWorker:
    def test_is_unknown_for_an_exited_process(self):
        assert proctree.looks_like_worker(NO_SUCH_PID, os.getpid()) is None

    def test_is_unknown_for_a_zombie(self, spawner):
        process = spawner.start("exit")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert proctree.looks_like_worker(process.pid, os.getpid()) is None

    def test_is_false_for_another_program(self, spawner):
        process = spawner.start("echo up; read line")
        spawner.line(process)
        assert proctree.looks_like_worker(process.pid, os.getpid()) is False


class TestIsZombie:
    def test_is_false_for_a_living_process(self):
        assert not proctree.is_zombie(os.getpid())

    def test_is_true_for_an_exited_process(self):
        assert proctree.is_zombie(NO_SUCH_PID)

    def test_ignores_the_process_name(self, spawner, tmp_path: Path):
        program = tmp_path / "a) Z (b"
        program.write_text("#!/bin/sh\necho $$; read line\n")
        program.chmod(0o755)
        process = spawner.start(f"'{program}'; exit")
        pid = int(spawner.line(process))
        assert Path(f"/proc/{pid}/comm").read_text() == "a) Z (b\n"
        assert not proctree.is_zombie(pid)


class TestSignalEach:
    def test_signals_all_existing_processes(self, spawner):
        first, second = (spawner.orphan(DAEMON) for _ in range(2))
        proctree.signal_each([first.pid, NO_SUCH_PID, second.pid], signal.SIGTERM)
        assert [first.died_of(), second.died_of()] == [signal.SIGTERM, signal.SIGTERM]

    def test_returns_processes_of_other_users(self, as_nobody):
        assert as_nobody(lambda: sorted(proctree.signal_each([1], signal.SIGTERM))) == [1]


class TestMemory:
    def test_is_of_the_whole_tree(self, spawner):
        process = spawner.start(f"sh -c 'echo; {FOR_EVER} & echo; wait' & wait")
        for _ in range(2):
            spawner.line(process)
        whole = proctree.read_tree_rss(process.pid)
        (child,) = proctree.children(process.pid)
        part = proctree.read_tree_rss(child)
        assert whole > part > 0
        assert whole % os.sysconf("SC_PAGE_SIZE") == 0

    def test_is_unknown_for_an_exited_process(self):
        assert proctree.read_tree_rss(NO_SUCH_PID) is None

    def test_is_unknown_for_too_many_processes(self, spawner):
        process = spawner.start(f"{FOR_EVER} & {FOR_EVER} & echo; wait")
        spawner.line(process)
        assert proctree.read_tree_rss(process.pid, max_processes=2) > 0
        assert proctree.read_tree_rss(process.pid, max_processes=1) is None
