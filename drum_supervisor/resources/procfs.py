"""What /proc says of processes, read from the files of these processes alone: proc(5)."""

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

# As psutil says it.
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
    """What one process says in /proc/PID/stat.

    Attributes:
        name: at most 15 bytes of it, see `full_name`.
        state: "running", "sleeping", "zombie" and so on.
        cpu_seconds: of the user and of the system.
        reaped_cpu_seconds: of the children that have ended and were waited for, and of theirs.
        started: ticks after the boot; together with the pid it tells a process from a later one.
        rss_bytes: resident memory.
        virtual_bytes: address space.
    """

    name: str
    state: str
    parent_pid: int
    cpu_seconds: float
    reaped_cpu_seconds: float
    threads: int
    started: int
    rss_bytes: int
    virtual_bytes: int

    @property
    def age(self) -> float:
        """For how many seconds it has lived, to a hundredth.

        psutil's time of creation is up to a second wrong: it adds to the time of the boot, which /proc/stat has in
        seconds.
        """
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS_PER_SECOND, 0.0)


def read_stat(pid: int, proc: Path = PROC) -> Stat | None:
    """Return what a process says; None when it is gone, or may not be looked at."""
    try:
        before, _, after = _read(f"{proc}/{pid}/stat").rpartition(b")")  # a name may contain ") R 1"
        fields = after.split()
        user, system, reaped_user, reaped_system = map(int, fields[11:15])
        return Stat(
            name=before.partition(b"(")[2].decode("utf-8", "replace"),
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


def read_command_line(pid: int, proc: Path = PROC) -> bytes:
    """Return the arguments, each with a zero byte at its end; none of a zombie, or when they may not be read."""
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
    """Return how many files are open; None when that may not be read."""
    folder = f"{proc}/{pid}/fd"
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))  # the size is the number since Linux 6.2
    except OSError:
        return None


class Footprint(NamedTuple):
    """Memory of a process without, or with its share of, what others have mapped as well, in bytes."""

    uss_bytes: int
    pss_bytes: int


def footprint(pid: int, proc: Path = PROC) -> Footprint | None:
    """Return what smaps_rollup tells (Linux 4.14); None when that may not be read, or the process is gone."""
    try:
        words = [line.split() for line in _read(f"{proc}/{pid}/smaps_rollup").splitlines()[1:]]
        kibibytes = {line[0]: int(line[1]) for line in words}
        private = kibibytes[b"Private_Clean:"] + kibibytes[b"Private_Dirty:"]
        return Footprint(1024 * (private + kibibytes.get(b"Private_Hugetlb:", 0)), 1024 * kibibytes[b"Pss:"])
    except (OSError, KeyError, ValueError, IndexError):
        return None


def walk(pid: int, proc: Path = PROC) -> Iterator[int | None]:
    """Yield `pid` and all processes below it, parents before children, and None wherever the walk may pause.

    Reads the files of these processes alone. A process that ends in the midst may hide a sibling this once (proc(5)).
    """
    found, known = [pid], {pid}
    for parent in found:  # grows under way
        yield parent
        for thread in _threads(parent, proc):
            new = [child for child in _children_of_thread(parent, thread, proc) if child not in known]
            known.update(new)
            found += new
            yield None


def descendants(pid: int, otherwise: Callable[[int], list[int]], proc: Path = PROC) -> list[int]:
    """Return all processes below `pid`, parents before children; none when it is gone.

    Args:
        pid: the process at the top.
        otherwise: asked when the kernel has no lists of children (CONFIG_PROC_CHILDREN).
        proc: where the kernel shows processes.
    """
    if not _has_children_files(pid, proc):
        return otherwise(pid)
    return [each for each in walk(pid, proc) if each is not None and each != pid]


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return the children of all threads of `pid`; none when it is gone."""
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
    """Whether the kernel lists children; a process that is gone does not count against it."""
    task = f"{proc}/{pid}/task/{pid}"
    return os.path.exists(f"{task}/children") or not os.path.exists(task)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()
