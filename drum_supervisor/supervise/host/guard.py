"""A small process beside the supervisor, for the case that the supervisor is killed: it ends what is left, and ends.

The kernel tells our children of our death (PR_SET_PDEATHSIG), but not theirs, and one that ignores TERM stays: either
may hold the port. The first process of a PID namespace needs no guard: with it the kernel ends everything.
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
from pathlib import Path

from drum_supervisor.resources import proctree

VARIABLE = "DRUM_SUPERVISOR_INSTANCE"
"""In the environment of all that a supervisor starts; its value is no other supervisor's."""

ROUNDS_OF_KILL = 10

# A shell waits in a few hundred kilobytes. Whoever tells all of us to stop tells the guard too, which must not listen.
_WAIT = "trap '' TERM INT QUIT HUP; read -r _ || exec \"$@\""


@dataclass(frozen=True)
class Charges:
    """What the guard knows its charges by.

    Attributes:
        mark: the value of VARIABLE.
        listener: inode of the shared listener; 0 without one.
    """

    mark: str
    listener: int = 0

    def find(self) -> set[int]:
        """Return all processes that bear the mark or have the listener open, and all below them."""
        marked = {pid for pid in _processes() if self._is_marked(pid) or self._listens(pid)}
        return {each for pid in marked for each in (pid, *proctree.descendants(pid))} - {os.getpid()}

    def _is_marked(self, pid: int) -> bool:
        with suppress(OSError):
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return f"{VARIABLE}={self.mark}".encode() in entries
        return False

    def _listens(self, pid: int) -> bool:
        with suppress(OSError):
            return bool(self.listener) and self.listener in _sockets(pid)
        return False


class Guard:
    """The guard of this process. Its stdin is a pipe that ends with us, unless it is dismissed.

    Args:
        command: runs `main` of this module.
        timeout: seconds between TERM and KILL.
    """

    def __init__(self, command: Sequence[str], charges: Charges, timeout: float) -> None:
        os.environ.pop(VARIABLE, None)
        argv = [*command, charges.mark, str(charges.listener), str(timeout)]
        shell = shutil.which("sh")
        self._process = subprocess.Popen(
            [shell, "-c", _WAIT, "drum-guard", *argv] if shell else argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.environ[VARIABLE] = charges.mark

    @property
    def pid(self) -> int:
        return self._process.pid

    def dismiss(self) -> None:
        """Let it go, for nothing is left, and wait until it is gone."""
        self._process.communicate(b"\n")


def main() -> None:
    """Be the guard: wait for the end of the pipe, then end what is left."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mark, listener, timeout = sys.argv[1:]
    if not sys.stdin.buffer.read(1):
        end(Charges(mark, int(listener)), float(timeout))


def end(charges: Charges, timeout: float) -> None:
    """End all of them: TERM, and KILL after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    told: set[int] = set()
    while (found := charges.find()) and time.monotonic() < deadline:
        proctree.signal_each(found - told, signal.SIGTERM)
        told |= found
        _wait_for(found, deadline)
    for _ in range(ROUNDS_OF_KILL):
        if not found:
            return
        proctree.signal_each(found, signal.SIGKILL)
        _wait_for(found, time.monotonic() + 1.0)
        found = charges.find()


def _wait_for(pids: Iterable[int], deadline: float) -> None:
    """Wait until all of them are gone, but no longer than until `deadline`."""
    poller, left = select.poll(), set()
    for pid in pids:
        with suppress(OSError):
            left.add(descriptor := os.pidfd_open(pid))
            poller.register(descriptor, select.POLLIN)
    if not left:  # all are gone, or the kernel has no such descriptors (before 5.3)
        poller.poll(100)
    while left and (seconds := deadline - time.monotonic()) > 0:
        for descriptor, _ in poller.poll(seconds * 1000):
            poller.unregister(descriptor)
            os.close(descriptor)
            left.remove(descriptor)
    for descriptor in left:
        os.close(descriptor)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process has open."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


if __name__ == "__main__":
    main()
