"""Kernel settings of the supervisor and its children: child subreaper, parent-death signal, OOM score."""

import ctypes
import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> bool:
    """Have the kernel hand orphaned descendants to this process; return whether it does."""
    if os.getpid() == 1:
        return True
    return hasattr(_libc, "prctl") and _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent(parent: int) -> None:
    """In a child, before exec: get TERM when the supervisor dies, even by SIGKILL."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGTERM)


OOM_SCORE_INCREASE = 100  # thousandths of the available memory: of 400 MiB they are 40, and a supervisor takes 30


def raise_oom_score() -> None:
    """In a child, before exec: have the kernel OOM-kill it or its descendants rather than the supervisor.

    The kernel kills the largest process first anyway; but when that is slow to release its memory, it kills another
    one, which was the supervisor. Raising /proc/self/oom_score_adj (proc(5)) needs no privilege, and starts from the
    value that the container was given.
    """
    with suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        file.write(b"%d" % min(int(file.read()) + OOM_SCORE_INCREASE, 1000))
