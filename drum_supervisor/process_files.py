"""What /proc says of processes that psutil does not read, or reads from all processes of the host."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Footprint:
    """Memory of a process without, or with its share of, what others have mapped as well, in bytes."""

    uss_bytes: int
    pss_bytes: int


def descendants(pid: int, otherwise: Callable[[int], list[int]], proc: Path = PROC) -> list[int]:
    """Return all processes below `pid`, parents before children; none when it is gone.

    Reads the files of these processes alone. A process that ends in the midst may hide a sibling this once (proc(5)).

    Args:
        pid: the process at the top.
        otherwise: asked when the kernel has no lists of children (CONFIG_PROC_CHILDREN).
        proc: where the kernel shows processes.
    """
    if not _has_children_files(pid, proc):
        return otherwise(pid)
    found = children(pid, proc)
    known = {pid, *found}
    for parent in found:  # grows under way
        new = [child for child in children(parent, proc) if child not in known]
        known.update(new)
        found += new
    return found


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return the children of all threads of `pid`; none when it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"{proc}/{pid}/task"):
            with suppress(OSError), open(f"{proc}/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def _has_children_files(pid: int, proc: Path) -> bool:
    """Whether the kernel lists children; a process that is gone does not count against it."""
    task = f"{proc}/{pid}/task/{pid}"
    return os.path.exists(f"{task}/children") or not os.path.exists(task)


def footprint(pid: int, proc: Path = PROC) -> Footprint | None:
    """Return what smaps_rollup tells (Linux 4.14); None when that may not be read, or the process is gone."""
    try:
        with open(f"{proc}/{pid}/smaps_rollup", "rb") as file:
            words = [line.split() for line in file.read().splitlines()[1:]]
        kibibytes = {line[0]: int(line[1]) for line in words}
        private = kibibytes[b"Private_Clean:"] + kibibytes[b"Private_Dirty:"]
        return Footprint(1024 * (private + kibibytes.get(b"Private_Hugetlb:", 0)), 1024 * kibibytes[b"Pss:"])
    except (OSError, KeyError, ValueError, IndexError):
        return None


def age(pid: int, proc: Path = PROC) -> float | None:
    """Return for how many seconds `pid` has lived, to a hundredth; None when it is gone.

    psutil's time of creation is up to a second wrong: it adds to the time of the boot, which /proc/stat has in seconds.
    """
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            started = int(file.read().rpartition(b")")[2].split()[19]) / _TICKS_PER_SECOND  # after the boot, proc(5)
    except (OSError, ValueError, IndexError):
        return None
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
