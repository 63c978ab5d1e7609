"""The files of single processes in /proc (proc(5)). Only a walk reads files of the descendants too.

They are read by hand rather than with psutil (7.2), because the supervisor samples in its only thread. Milliseconds of
processor time for name, state, parent, CPU times, threads, start time and memory, as medians of 30 on two processors:

| processes | one stat file each | `psutil.Process.oneshot()` | its CPU times and memory alone |
|---:|---:|---:|---:|
| 1 | 0.03 | 0.22 | 0.09 |
| 10 | 0.17 | 1.2 | 0.54 |
| 100 | 1.9 | 12 | 5.8 |

psutil's start times are up to a second early, because it adds them to the boot time of /proc/stat in whole seconds: a
first CPU percentage some hundredths after the start would be wrong. To list the descendants of one process it reads
all processes of the host. USS and PSS cost 0.2 ms either way, the kernel's part. Importing psutil takes 17 ms.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LONGEST_NAME = 15  # TASK_COMM_LEN - 1

# The words of psutil.
_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk-sleep",
    "T": "stopped",
    "t": "tracing-stop",
    "Z": "zombie",
    "X": "dead",
    "x": "dead",
    "K": "wake-kill",
    "W": "waking",
    "I": "idle",
    "P": "parked",
}


class Stat(NamedTuple):
    """The parsed /proc/PID/stat."""

    name: str  # at most 15 bytes, see `full_name`
    state: str  # a word of _STATES
    parent_pid: int
    cpu_seconds: float  # user and system
    reaped_cpu_seconds: float  # of ended children it waited for, and of theirs
    threads: int
    started: int  # ticks after boot; together with the pid it identifies a process
    rss_bytes: int
    virtual_bytes: int

    @property
    def age(self) -> float:
        """Seconds since its start, to a hundredth."""
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS_PER_SECOND, 0.0)


def read_stat(pid: int, proc: Path = PROC) -> Stat | None:
    """Return the parsed stat file; None when the process is gone or not accessible."""
    try:
        name, fields = _split_stat(pid, proc)
        user, system, reaped_user, reaped_system = map(int, fields[11:15])
        return Stat(
            name=name.decode("utf-8", "replace"),
            state=_STATES.get(fields[0].decode(), "unknown"),
            parent_pid=int(fields[1]),
            cpu_seconds=(user + system) / _TICKS_PER_SECOND,
            reaped_cpu_seconds=(reaped_user + reaped_system) / _TICKS_PER_SECOND,
            threads=int(fields[17]),
            started=int(fields[19]),
            rss_bytes=int(fields[21]) * _PAGE,
            virtual_bytes=int(fields[20]),
        )
    except (OSError, ValueError, IndexError):
        return None


def read_stat_fields(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the state on (field 3 of proc(5)); OSError: the process is gone."""
    return _split_stat(pid, PROC)[1]


def _split_stat(pid: int, proc: Path) -> tuple[bytes, list[bytes]]:
    before, _, after = _read(f"{proc}/{pid}/stat").rpartition(b")")  # a name may contain ") R 1"
    return before.partition(b"(")[2], after.split()


def read_command_line(pid: int, proc: Path = PROC) -> bytes:
    """Return the NUL-terminated arguments; empty for a zombie, and when not accessible."""
    try:
        return _read(f"{proc}/{pid}/cmdline")
    except OSError:
        return b""


def full_name(name: str, command_line: tuple[str, ...]) -> str:
    """Return the whole name of the program file where the kernel has cut it off."""
    if len(name.encode()) < _LONGEST_NAME or not command_line:
        return name
    whole = os.path.basename(command_line[0])
    return whole if whole.startswith(name) else name


def count_descriptors(pid: int, proc: Path = PROC) -> int | None:
    """Return the number of open descriptors; None when not accessible."""
    folder = f"{proc}/{pid}/fd"
    try:
        return os.stat(folder).st_size or len(
            os.listdir(folder)
        )  # the size is that number since Linux 6.2, and 0 before
    except OSError:
        return None


class Footprint(NamedTuple):
    """Memory of a process without the pages it shares (USS), and with its part of them (PSS)."""

    uss_bytes: int
    pss_bytes: int


def read_footprint(pid: int, proc: Path = PROC) -> Footprint | None:
    """Return USS and PSS from smaps_rollup (Linux 4.14); None when not accessible, or the process is gone."""
    try:
        words = [line.split() for line in _read(f"{proc}/{pid}/smaps_rollup").splitlines()[1:]]
        kibibytes = {line[0]: int(line[1]) for line in words}
        private = kibibytes[b"Private_Clean:"] + kibibytes[b"Private_Dirty:"]
        return Footprint(1024 * (private + kibibytes.get(b"Private_Hugetlb:", 0)), 1024 * kibibytes[b"Pss:"])
    except (OSError, KeyError, ValueError, IndexError):
        return None


def walk(pid: int, proc: Path = PROC) -> Iterator[int | None]:
    """Yield `pid` and all its descendants, parents before children, and None after each file: the walk may pause there.

    A process which ends during the walk may hide a sibling from it (proc(5), on `children`).
    """
    found, known = [pid], {pid}
    for parent in found:  # grows during the loop
        yield parent
        for thread in _threads(parent, proc):
            new = [child for child in _children_of_thread(parent, thread, proc) if child not in known]
            known.update(new)
            found += new
            yield None


def descendants(pid: int, fallback: Callable[[int], list[int]], proc: Path = PROC) -> list[int]:
    """Return all descendants, parents before children; `fallback` is for kernels without CONFIG_PROC_CHILDREN."""
    if not _has_children_files(pid, proc):
        return fallback(pid)
    return [each for each in walk(pid, proc) if each is not None and each != pid]


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return the children of all threads; empty when the process is gone."""
    return [child for thread in _threads(pid, proc) for child in _children_of_thread(pid, thread, proc)]


def _threads(pid: int, proc: Path) -> list[str]:
    try:
        return os.listdir(f"{proc}/{pid}/task")
    except OSError:
        return []


def _children_of_thread(pid: int, thread: str, proc: Path) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in _read(f"{proc}/{pid}/task/{thread}/children").split()]
    return []


def _has_children_files(pid: int, proc: Path) -> bool:
    task = f"{proc}/{pid}/task/{pid}"
    return os.path.exists(f"{task}/children") or not os.path.exists(task)  # a process that is gone proves nothing


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
