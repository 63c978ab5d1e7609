"""The base of managed and extra processes: signals, process group and descriptors of a child of supervisord."""

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

_RESTORED_SIGNALS = (*SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores the last two; children must not
MIN_STOP_WAIT = 0.02  # seconds, even for a process that KILL does not end at once
_SUPERVISOR_VARIABLES = "LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID".split()


class Child(Subprocess):
    """A process of supervisord that loses no signal, and does not outlive the supervisor."""

    def spawn_now(self) -> int | None:
        # A signal that arrives during the fork must not be lost in our handlers.
        with _signals_blocked():
            pid: int | None = super().spawn()
        return pid

    def seconds_left(self, now: float) -> float:
        """Return the seconds until supervisord must act on this process; `now` in seconds since the epoch."""
        if self.state == ProcessStates.STARTING:
            return float(self.laststart + self.config.startsecs - now)
        if self.state == ProcessStates.BACKOFF and not self.config.options.context.stopping:
            return float(self.delay - now) if self.backoff <= self.config.startretries else 0.0
        if self.state == ProcessStates.STOPPING:
            return max(float(self.delay - now), MIN_STOP_WAIT)
        return float("inf")

    def signal(self, number: int) -> str | None:
        """Send a signal on an operator's request; return why that failed, or None."""
        if not self.pid:
            return f"{self.config.name} is not running"
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return None  # it has just exited, and is about to be reaped
        except PermissionError:
            return f"{self.config.name} (pid {self.pid}) runs as another user: no permission to signal it"
        return None

    def set_uid(self) -> Any:
        # Set the parent-death signal last: the kernel clears it when the user changes.
        problem = super().set_uid()
        prctl.die_with_parent(self.config.options.context.pid)
        return problem

    def _spawn_as_parent(self, pid: int) -> int:
        # From this side too: else a stop that comes before the child has created its process group is lost.
        with suppress(ProcessLookupError, PermissionError):  # the child was faster, and is past its exec
            os.setpgid(pid, pid)
        return int(super()._spawn_as_parent(pid))

    def restore(self, is_expendable: bool) -> None:
        """In the child: undo the supervisor's signal handlers, and unset the variables that are meant for it alone.

        Args:
            is_expendable: have the kernel OOM-kill it, or what it starts, rather than the supervisor.
        """
        for number in _RESTORED_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        for name in _SUPERVISOR_VARIABLES:  # supervisord copies os.environ after this
            os.environ.pop(name, None)
        if is_expendable:
            prctl.raise_oom_score()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    # During a fork: our handler would swallow a TERM that reaches the child before its exec.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


PARKED_FD = 64  # above all descriptors that a child gets


def park(fd: int | None) -> int | None:
    return None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, PARKED_FD)


def close_fd(fd: int | None) -> None:
    if fd is not None:
        with suppress(OSError):
            os.close(fd)


def close_fds_above(last: int) -> None:
    # Close the open descriptors above `last`, without trying the million possible ones.
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for number in numbers:
        if number > last:
            close_fd(number)
