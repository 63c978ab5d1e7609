"""The guard: a small process that stops what a killed supervisor leaves behind, then ends.

The kernel signals the death of the supervisor to its children (PR_SET_PDEATHSIG), but not to their children, and a
process may ignore TERM: either could keep the port. The first process of a PID namespace needs no guard, because the
kernel ends all processes with it.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from drum_supervisor.resources import proctree

INSTANCE_VARIABLE = "DRUM_SUPERVISOR_INSTANCE"  # in the environment of all processes below one supervisor
MAX_KILL_ROUNDS = 10

# A shell waits in a few hundred kilobytes. Signals for a whole group or session reach the guard too: it ignores them.
_WAIT = "trap '' TERM INT QUIT HUP; read -r _ || exec \"$@\""


@dataclass(frozen=True)
class GuardedProcesses:
    """The processes of one supervisor, as the guard finds them."""

    instance: str  # the value of INSTANCE_VARIABLE, unique to the supervisor
    listener: int = 0  # inode of the shared listener; 0 without one

    def find(self) -> set[int]:
        """Return all processes with the variable or the listener, and their descendants."""
        marked = {pid for pid in _processes() if self._has_variable(pid) or self._has_listener(pid)}
        return {each for pid in marked for each in (pid, *proctree.descendants(pid))} - {os.getpid()}

    def _has_variable(self, pid: int) -> bool:
        with suppress(OSError):
            return f"{INSTANCE_VARIABLE}={self.instance}".encode() in proctree.read_environment(pid)
        return False

    def _has_listener(self, pid: int) -> bool:
        with suppress(OSError):
            return bool(self.listener) and self.listener in proctree.read_sockets(pid).values()
        return False


class Guard:
    """The guard of this process. It acts when the pipe to its stdin is closed, unless it was dismissed.

    Args:
        command: runs `main` of this module.
        timeout: seconds between TERM and KILL.
    """

    def __init__(self, command: Sequence[str], guarded: GuardedProcesses, timeout: float) -> None:
        os.environ.pop(INSTANCE_VARIABLE, None)
        argv = [*command, guarded.instance, str(guarded.listener), str(timeout)]
        shell = shutil.which("sh")
        self._process = subprocess.Popen(
            [shell, "-c", _WAIT, "drum-guard", *argv] if shell else argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.environ[INSTANCE_VARIABLE] = guarded.instance

    @property
    def pid(self) -> int:
        return self._process.pid

    def dismiss(self) -> None:
        """End the guard, because all processes are gone, and wait for it."""
        self._process.communicate(b"\n")


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    instance, listener, timeout = sys.argv[1:]
    if not sys.stdin.buffer.read(1):
        stop_all(GuardedProcesses(instance, int(listener)), float(timeout))


def stop_all(guarded: GuardedProcesses, timeout: float) -> None:
    """Send TERM, and KILL after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    signalled: set[int] = set()
    while (found := guarded.find()) and time.monotonic() < deadline:
        proctree.signal_each(found - signalled, signal.SIGTERM)
        signalled |= found
        _wait_for(found, deadline)
    for _ in range(MAX_KILL_ROUNDS):
        if not found:
            return
        proctree.signal_each(found, signal.SIGKILL)
        _wait_for(found, time.monotonic() + 1.0)
        found = guarded.find()


def _wait_for(pids: Iterable[int], deadline: float) -> None:
    """Wait until all of them are gone, at most until `deadline`."""
    poller, pidfds = select.poll(), set()
    for pid in pids:
        with suppress(OSError):
            pidfds.add(pidfd := os.pidfd_open(pid))
            poller.register(pidfd, select.POLLIN)
    if not pidfds:  # all are gone, or the kernel has no pidfds (before 5.3)
        poller.poll(100)
    while pidfds and (seconds := deadline - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(seconds * 1000):
            poller.unregister(pidfd)
            os.close(pidfd)
            pidfds.remove(pidfd)
    for pidfd in pidfds:
        os.close(pidfd)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


if __name__ == "__main__":
    main()
