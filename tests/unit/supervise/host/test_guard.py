"""The guard ends what a supervisor has left that was killed, and nothing else."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from drum_supervisor.supervise.host.guard import VARIABLE, Charges, Guard
from drum_supervisor.supervise.programs.plan import python_command
from tests.support import until
from tests.unit.processes import Family, died_of

OURS = Charges("ours")
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


@pytest.fixture
def family() -> Iterator[Family]:
    made = Family()
    yield made
    made.end()


@pytest.fixture
def guard(monkeypatch) -> Iterator[Callable[..., Guard]]:
    """Make a guard, as a process; whatever happens it is gone afterwards."""
    monkeypatch.setenv(VARIABLE, "of an outer supervisor")
    made: list[Guard] = []

    def begin(timeout: float = 25.0) -> Guard:
        made.append(Guard(python_command("supervise.host.guard"), OURS, timeout))
        return made[-1]

    yield begin
    for each in made:
        each._process.kill()
        each._process.communicate()


def ours(family: Family, script: str) -> "subprocess.Popen[str]":
    process = family.start(f"{script} echo up; read line", {VARIABLE: OURS.mark})
    assert family.line(process) == "up"
    return process


def kill_the_supervisor(guard: Guard) -> None:
    """All that the guard notices is that its pipe has ended."""
    guard._process.stdin.close()


def test_what_bears_the_mark_is_found_with_all_below_it_and_who_has_the_listener_open(family):
    marked = family.start("env -i PATH=$PATH sh -c 'echo $$; read line'; :", {VARIABLE: OURS.mark})
    below = int(family.line(marked))
    stranger = family.start("echo; read line", {VARIABLE: "theirs"})
    family.line(stranger)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        holder = subprocess.Popen(["sleep", "1000"], pass_fds=[listener.fileno()])
    try:
        assert Charges(OURS.mark, inode).find() == {marked.pid, below, holder.pid}
        assert Charges(OURS.mark).find() == {marked.pid, below}
    finally:
        holder.kill()
        holder.wait()


def test_all_that_is_started_after_the_guard_bears_its_mark(guard):
    begun = guard()
    assert os.environ[VARIABLE] == OURS.mark
    with open(f"/proc/{begun.pid}/environ", "rb") as file:
        assert VARIABLE.encode() not in file.read()


def test_dismissed_it_goes_and_does_nothing(guard, family):
    begun, process = guard(), ours(family, "")
    begun.dismiss()
    assert begun._process.returncode == 0
    assert process.poll() is None


@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["in a shell", "where there is no shell"])
def test_when_the_supervisor_is_gone_all_are_told_to_stop(guard, family, monkeypatch, path):
    process = ours(family, "")
    monkeypatch.setenv("PATH", path)
    kill_the_supervisor(guard())
    assert died_of(process.pid) == signal.SIGTERM


def test_who_does_not_stop_is_killed_after_the_timeout(guard, family):
    process = ours(family, "trap '' TERM;")
    kill_the_supervisor(guard(timeout=0.1))
    assert died_of(process.pid) == signal.SIGKILL


@pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["in a shell", "where there is no shell"])
def test_a_stop_of_everybody_is_not_meant_for_it(guard, family, monkeypatch, path):
    process = ours(family, "trap 'echo told; exit' TERM;")
    monkeypatch.setenv("PATH", path)
    begun = guard()
    until(lambda: ignored(begun.pid) >= set(STOPS))
    for number in STOPS:
        os.kill(begun.pid, number)
    kill_the_supervisor(begun)
    assert family.line(process) == "told"


def ignored(pid: int) -> set[int]:
    """Return the signals that a process ignores; some perhaps from its start on, as below nohup."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        mask = int(next(line.split()[1] for line in file if line.startswith("SigIgn:")), 16)
    return {number for number in signal.valid_signals() if mask & 1 << number - 1}
