"""File descriptors between fork and exec: what a child is given, and nothing else."""

import fcntl
import os
import resource
from contextlib import suppress

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
