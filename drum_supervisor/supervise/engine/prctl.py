"""What the supervisor asks of the kernel for itself and its children: orphans, the parent's death, who dies first."""

import ctypes
import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> bool:
    """Ask the kernel to hand orphaned descendants to us; return whether it does."""
    if os.getpid() == 1:
        return True
    return hasattr(_libc, "prctl") and _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with_parent(parent: int) -> None:
    """In a child, before exec: be told to stop when the supervisor dies, even by SIGKILL."""
    if hasattr(_libc, "prctl"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGTERM)


OOM_SCORE_ABOVE_OURS = 100
"""Thousandths of the memory that there may be: with 400 MiB they count like 40, and a supervisor takes 30."""


def go_first() -> None:
    """In a child, before exec: have the kernel rather kill it, or what it starts, than us when memory runs out.

    The largest process goes first in any case; but when it is slow to give its memory back, the kernel kills another
    one, and that was the supervisor. Who is to blame has to go instead. Raising /proc/self/oom_score_adj (proc(5))
    needs no privilege, and what a container was given stays its base.
    """
    with suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        file.write(b"%d" % min(int(file.read()) + OOM_SCORE_ABOVE_OURS, 1000))
