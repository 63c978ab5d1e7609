"""What is the same for every child that supervisord starts for us, ours or the user's: signals, process group, end."""

import fcntl
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from supervisor.process import Subprocess
from supervisor.states import ProcessStates

from drum_supervisor.supervise.engine import prctl
from drum_supervisor.supervise.engine.wakeup import SIGNALS

_RESTORED = (*SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores the last two; what we exec must not
SHORTEST_WAIT_FOR_AN_END = 0.02  # seconds, also for what KILL does not end at once
_OURS_ALONE = "LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID".split()


class Child(Subprocess):  # type: ignore[misc]
    """A process of supervisord's that loses no signal and does not outlive us.

    Attributes:
        usage: what it has used, once it was reaped: wait4(2).
    """

    usage: resource.struct_rusage

    def spawn_now(self) -> int | None:
        """Fork and exec, with no signal lost in our own handlers meanwhile."""
        with _signals_blocked():
            pid: int | None = super().spawn()
        return pid

    def seconds_left(self, now: float) -> float:
        """Return in how many seconds supervisord has something to do about it; `now` since the epoch."""
        stopping = self.config.options.context.stopping
        if self.state == ProcessStates.STARTING:
            return float(self.laststart + self.config.startsecs - now)
        if self.state == ProcessStates.BACKOFF and not stopping:
            return float(self.delay - now) if self.backoff <= self.config.startretries else 0.0
        if self.state == ProcessStates.STOPPING:
            return max(float(self.delay - now), SHORTEST_WAIT_FOR_AN_END)
        return float("inf")

    def signal(self, number: int) -> str | None:
        """Send a signal that somebody asked for; return why that was not possible."""
        if not self.pid:
            return f"{self.config.name} does not run"
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return None  # it has just ended, and is reaped in a moment
        except PermissionError:
            return f"{self.config.name} (pid {self.pid}) runs as another user, whom we may not signal"
        return None

    def set_uid(self) -> Any:
        """The last of our own steps in the child: a change of user makes the kernel forget what it was asked for."""
        problem = super().set_uid()
        prctl.die_with_parent(self.config.options.context.pid)
        return problem

    def _spawn_as_parent(self, pid: int) -> int:
        """Make the child's process group from this side too: a stop that comes before the child does it is lost."""
        with suppress(ProcessLookupError, PermissionError):  # it was quicker, and has gone on to its exec
            os.setpgid(pid, pid)
        return int(super()._spawn_as_parent(pid))

    def restore(self) -> None:
        """Undo, in the child, what only the supervisor has: its signal handlers, and what its own parent told it."""
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for name in _OURS_ALONE:  # supervisord copies os.environ after this
            os.environ.pop(name, None)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Hold signals back over a fork: a TERM that meets the child before its exec would be lost in our handler."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


HIGH_FD = 64  # parked above all that a child is given


def park(fd: int | None) -> int | None:
    """Return a copy of `fd` with a high number, which is inherited."""
    return None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH_FD)


def close_fd(fd: int | None) -> None:
    if fd is not None:
        with suppress(OSError):
            os.close(fd)


def close_above(last: int) -> None:
    """Close every descriptor above `last`: those that are open, not the million that might be."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for number in numbers:
        if number > last:
            close_fd(number)
