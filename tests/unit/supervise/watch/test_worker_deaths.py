"""A server's own workers: which deaths count, in trees of processes that a table describes."""

import os
import signal
from contextlib import ExitStack

import pytest

from drum_supervisor.supervise.watch.descendants import MAX_PIDFD, Descendants, ProcessTable
from drum_supervisor.supervise.watch.worker_deaths import Death, WorkerDeaths, is_failure, parse_logged_deaths
from tests.unit.process_table import MASTER, FakeProcessTable, exited


@pytest.fixture
def table() -> FakeProcessTable:
    return FakeProcessTable()


@pytest.fixture
def worker_deaths(table: FakeProcessTable) -> WorkerDeaths:
    return WorkerDeaths(Descendants(MASTER, lambda: table.now, table))


def refresh(worker_deaths: WorkerDeaths, times: int = 3, stderr: str = "") -> list[Death]:
    found: list[Death] = []
    for _ in range(times):
        worker_deaths.descendants.table.now += 0.1
        worker_deaths.note(*worker_deaths.descendants.refresh())
        found = worker_deaths.check(stderr)
    return found


class TestDeathThatCounts:
    @pytest.mark.parametrize("status", [exited(1), exited(9), int(signal.SIGSEGV), int(signal.SIGKILL)])
    def test_is_of_a_failed_worker_that_was_replaced(self, table, worker_deaths, status):
        table.fork(10)
        assert refresh(worker_deaths) == []
        table.exit(10, status)
        assert refresh(worker_deaths) == []
        table.fork(11)
        (death,) = refresh(worker_deaths)
        assert (death.pid, death.status) == (10, status)

    def test_has_the_lifetime_of_the_worker(self, table, worker_deaths):
        table.fork(10)
        refresh(worker_deaths, 5)
        table.exit(10, exited(1))
        refresh(worker_deaths)
        table.fork(11)
        assert refresh(worker_deaths)[0].lifetime == pytest.approx(0.5)

    def test_is_of_a_worker_that_exits_slowly(self, table, worker_deaths):
        table.fork(10)
        refresh(worker_deaths, 1)
        table.exiting.add(10)
        refresh(worker_deaths, 5)
        table.exit(10, int(signal.SIGKILL))
        table.fork(11)
        assert refresh(worker_deaths, 5) == []  # seen once, it may have been about to run another program
        table.fork(12)
        refresh(worker_deaths)
        table.exiting.add(12)
        refresh(worker_deaths)
        table.exit(12, int(signal.SIGKILL))
        refresh(worker_deaths)
        table.fork(13)
        assert [death.pid for death in refresh(worker_deaths)] == [12]

    def test_is_found_below_a_start_script(self, table, worker_deaths):
        table.fork(5, helper=True)
        table.fork(10, parent=5)
        refresh(worker_deaths)
        table.exit(10, exited(7))
        table.fork(11, parent=5)
        assert [death.pid for death in refresh(worker_deaths)] == [10]


class TestDeathThatDoesNotCount:
    @pytest.mark.parametrize("status", [exited(0), int(signal.SIGTERM), int(signal.SIGINT), None])
    def test_is_a_clean_exit_or_unknown(self, table, worker_deaths, status):
        table.fork(10)
        refresh(worker_deaths)
        table.exit(10, status)
        table.fork(11)
        assert refresh(worker_deaths) == []

    def test_is_of_a_worker_that_was_not_replaced(self, table, worker_deaths):
        table.fork(10, 11)
        refresh(worker_deaths)
        table.exit(10, exited(1))
        assert refresh(worker_deaths) == []

    def test_is_of_a_worker_replaced_by_another_parent(self, table, worker_deaths):
        table.fork(5, 6, helper=True)
        table.fork(10, parent=5)
        refresh(worker_deaths)
        table.exit(10, exited(1))
        table.fork(11, parent=6)
        assert refresh(worker_deaths) == []

    def test_is_of_a_helper(self, table, worker_deaths):
        table.fork(10, helper=True)
        refresh(worker_deaths)
        table.exit(10, exited(1))
        table.fork(11, helper=True)
        assert refresh(worker_deaths) == []

    def test_is_of_a_helper_that_looked_like_a_worker_before_exec(self, table, worker_deaths):
        for pid in (10, 11):
            table.fork(pid)
            refresh(worker_deaths, 1)
            table.helpers.add(pid)
            refresh(worker_deaths)
            table.exit(pid, exited(1))
        assert refresh(worker_deaths) == []


def test_pidfds_are_closed(table, worker_deaths):
    table.fork(10, 11)
    refresh(worker_deaths)
    table.exit(10, exited(1))
    refresh(worker_deaths)
    assert table.opened == {11}
    worker_deaths.descendants.close()
    assert table.opened == set()


class TestLoggedDeaths:
    @pytest.mark.parametrize(
        ("line", "deaths"),
        [
            ("[1] [ERROR] Worker (pid:77) exited with code 9.", [Death(77, exited(9))]),
            ("[1] [WARNING] Worker (pid:77) was sent SIGSEGV!", [Death(77, signal.SIGSEGV)]),
            ("[1] [ERROR] Worker (pid:77) was sent SIGKILL! Perhaps out of memory?", [Death(77, signal.SIGKILL)]),
            ("[WARNING] Worker with pid 77 was terminated due to signal 9", [Death(77, signal.SIGKILL)]),
            ("[2026-11-22 10:00:00 +0000] [77] [ERROR] Exception in worker process", [Death(77, None)]),
            ("INFO:     Child process [77] died", [Death(77, None)]),
            ("[1] [INFO] Worker (pid:77) was sent SIGTERM!", []),
            ("[1] [ERROR] Worker (pid:77) exited with code 0.", []),
            ("[77] [INFO] Booting worker with pid: 77", []),
            ("[77] [INFO] Worker exiting (pid: 77)", []),
        ],
    )
    def test_are_parsed(self, line, deaths):
        assert parse_logged_deaths(f"before\n{line}\nafter\n") == deaths

    def test_count_at_the_second_check(self, worker_deaths):
        stderr = "Worker (pid:77) exited with code 9."
        assert refresh(worker_deaths, 1, stderr) == []
        assert refresh(worker_deaths, 1, stderr) == [Death(77, exited(9))]

    def test_count_once_if_also_observed(self, table, worker_deaths):
        table.fork(10)
        refresh(worker_deaths)
        table.exit(10, exited(9))
        table.fork(11)
        assert len(refresh(worker_deaths, 5, "Worker (pid:10) exited with code 9.")) == 1

    def test_have_the_observed_lifetime(self, table, worker_deaths):
        table.fork(10)
        refresh(worker_deaths, 10)
        table.exit(10, exited(9))
        refresh(worker_deaths, 1)
        (death,) = refresh(worker_deaths, 2, "Worker (pid:10) exited with code 9.")
        assert death.lifetime == pytest.approx(1.0)

    def test_without_status_get_the_observed_one(self, table, worker_deaths):
        """As uvicorn logs them."""
        table.fork(10)
        refresh(worker_deaths)
        table.exit(10, int(signal.SIGKILL))
        assert [death.status for death in refresh(worker_deaths, 2, "Child process [10] died")] == [signal.SIGKILL]


def test_high_descriptors_are_left_free():
    with ExitStack() as stack, open(os.devnull) as file:
        while (fd := os.dup(file.fileno())) < MAX_PIDFD:
            stack.callback(os.close, fd)
        stack.callback(os.close, fd)
        assert ProcessTable().open_pidfd(os.getpid()) == -1
        assert os.dup(file.fileno()) == fd + 1
        stack.callback(os.close, fd + 1)


@pytest.mark.parametrize(("status", "bad"), [(exited(0), False), (exited(1), True), (signal.SIGABRT, True)])
def test_is_failure(status, bad):
    assert is_failure(int(status)) is bad


def test_process_table_reads_real_processes(tmp_path):
    """A child that shares a socket with its parent is a worker; the kernel or its zombie has the wait status."""
    import socket

    with socket.socket():
        table = ProcessTable()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(reading, 1)
            os._exit(7)
        assert table.looks_like_worker(pid, os.getpid())
        pidfd = table.open_pidfd(pid)
        os.write(writing, b"x")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert table.read_wait_status(pid, pidfd) == exited(7)
        os.waitpid(pid, 0)
        assert table.read_wait_status(pid, pidfd) in (exited(7), None)
        assert pid not in table.children(os.getpid())
        table.close_pidfd(pidfd)
        for fd in (reading, writing):
            os.close(fd)
