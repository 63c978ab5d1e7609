"""The guard stops the processes of a killed supervisor, and no others."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from drum_supervisor.supervise.host.guard import INSTANCE_VARIABLE, Guard, GuardedProcesses
from drum_supervisor.supervise.programs.plan import python_command
from tests.support import until
from tests.unit.processes import Spawner, died_of

GUARDED = GuardedProcesses("ours")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
SHELLS = pytest.mark.parametrize("path", [os.environ["PATH"], ""], ids=["with a shell", "without a shell"])


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    made = Spawner()
    yield made
    made.end()


@pytest.fixture
def start_guard(monkeypatch) -> Iterator[Callable[..., Guard]]:
    """Start guards, and kill them after the test."""
    monkeypatch.setenv(INSTANCE_VARIABLE, "of an outer supervisor")
    guards: list[Guard] = []

    def start(timeout: float = 25.0) -> Guard:
        guards.append(Guard(python_command("supervise.host.guard"), GUARDED, timeout))
        return guards[-1]

    yield start
    for guard in guards:
        guard._process.kill()
        guard._process.communicate()


def start_guarded(spawner: Spawner, script: str) -> "subprocess.Popen[str]":
    process = spawner.start(f"{script} echo up; read line", {INSTANCE_VARIABLE: GUARDED.instance})
    assert spawner.line(process) == "up"
    return process


def close_pipe(guard: Guard) -> None:
    """Do what the death of the supervisor does."""
    guard._process.stdin.close()


def test_finds_processes_by_variable_listener_and_ancestor(spawner):
    marked = spawner.start("env -i PATH=$PATH sh -c 'echo $$; read line'; :", {INSTANCE_VARIABLE: GUARDED.instance})
    descendant = int(spawner.line(marked))
    stranger = spawner.start("echo; read line", {INSTANCE_VARIABLE: "theirs"})
    spawner.line(stranger)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        inode = os.fstat(listener.fileno()).st_ino
        holder = subprocess.Popen(["sleep", "1000"], pass_fds=[listener.fileno()])
    try:
        assert GuardedProcesses(GUARDED.instance, inode).find() == {marked.pid, descendant, holder.pid}
        assert GuardedProcesses(GUARDED.instance).find() == {marked.pid, descendant}
    finally:
        holder.kill()
        holder.wait()


def test_sets_the_variable_but_does_not_have_it(start_guard):
    guard = start_guard()
    assert os.environ[INSTANCE_VARIABLE] == GUARDED.instance
    with open(f"/proc/{guard.pid}/environ", "rb") as file:
        assert INSTANCE_VARIABLE.encode() not in file.read()


def test_dismissed_guard_ends_and_stops_nothing(start_guard, spawner):
    guard, process = start_guard(), start_guarded(spawner, "")
    guard.dismiss()
    assert guard._process.returncode == 0
    assert process.poll() is None


@SHELLS
def test_sends_term_once_the_supervisor_is_gone(start_guard, spawner, monkeypatch, path):
    process = start_guarded(spawner, "")
    monkeypatch.setenv("PATH", path)
    close_pipe(start_guard())
    assert died_of(process.pid) == signal.SIGTERM


def test_kills_what_does_not_stop_within_the_timeout(start_guard, spawner):
    process = start_guarded(spawner, "trap '' TERM;")
    close_pipe(start_guard(timeout=0.1))
    assert died_of(process.pid) == signal.SIGKILL


@SHELLS
def test_ignores_signals_for_the_whole_group(start_guard, spawner, monkeypatch, path):
    process = start_guarded(spawner, "trap 'echo stopping; exit' TERM;")
    monkeypatch.setenv("PATH", path)
    guard = start_guard()
    until(lambda: ignored_signals(guard.pid) >= set(STOP_SIGNALS))
    for number in STOP_SIGNALS:
        os.kill(guard.pid, number)
    close_pipe(guard)
    assert spawner.line(process) == "stopping"


def ignored_signals(pid: int) -> set[int]:
    """Return the signals that a process ignores; nohup may have ignored some from the start."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        mask = int(next(line.split()[1] for line in file if line.startswith("SigIgn:")), 16)
    return {number for number in signal.valid_signals() if mask & 1 << number - 1}
