"""`--workers auto`: as many as the processors and the memory of the container allow, not those of its host."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from drum_supervisor.config.settings import AUTO, MOST_WORKERS, Settings
from drum_supervisor.resources.cgroup import read_cgroup
from drum_supervisor.supervise.programs.command import command_of
from drum_supervisor.supervise.programs.plan import is_shared

_MIB = 1024 * 1024

# A worker of the built-in model server without a model has 170 MiB, of which libraries are the most.
BARE_WORKER_BYTES = 256 * _MIB

# An artifact is about as large in memory as on the disk, and there twice while it is read.
COPIES_OF_THE_MODEL = 2


@dataclass(frozen=True)
class Room:
    """What there is for workers.

    Attributes:
        processors: that may be used: the quota's, or those that we may run on.
        memory_bytes: that may still be taken: below the limit of the control group, or of the machine; None: not known.
    """

    processors: float
    memory_bytes: int | None

    def workers(self, worker_bytes: int) -> int:
        """Return how many workers of that size have room; at least one."""
        for_memory = MOST_WORKERS if self.memory_bytes is None else self.memory_bytes // worker_bytes
        return max(1, min(math.floor(self.processors), for_memory, MOST_WORKERS))


def decided(settings: Settings, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Settings, str]:
    """Return the settings with a number of workers, and a sentence on how it came about if that was left to us.

    Raises:
        UsageError: there is nothing to run.
    """
    if settings.workers != AUTO:
        return settings, ""
    one = replace(settings, workers=1)
    if not is_shared(one, command_of(one, argv, environ)):
        return one, "workers: 1, because the command binds the port itself"
    free = room(os.getpid(), len(os.sched_getaffinity(0)))
    worker = BARE_WORKER_BYTES + COPIES_OF_THE_MODEL * size_of(settings.code_dir)
    count = free.workers(worker)
    return replace(settings, workers=count), _sentence(count, free, worker)


def room(pid: int, processors: float, root: Path = Path("/")) -> Room:
    """Return what there is for workers in the control group of `pid`; without limits, on the machine.

    Args:
        processors: that the process may run on.
        root: of the file system with /proc and the groups.
    """
    group = read_cgroup(pid, root)
    if group.cpu.quota_cores is not None:
        processors = min(processors, group.cpu.quota_cores)
    available = _available(root)
    if group.memory.limit_bytes is None:
        return Room(processors, available)
    used = group.memory.working_set_bytes or 0
    left = max(group.memory.limit_bytes - used, 0)
    return Room(processors, left if available is None else min(left, available))


def size_of(folder: str) -> int:
    """Return the bytes of all files in a folder; files that are there under several names count once."""
    sizes = {}
    for path in (Path(where) / name for where, _, names in os.walk(folder) for name in names):
        with suppress(OSError):
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _available(root: Path) -> int | None:
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _sentence(count: int, free: Room, worker_bytes: int) -> str:
    memory = "an unknown amount" if free.memory_bytes is None else f"{free.memory_bytes / _MIB:.0f} MiB"
    return (
        f"workers: {count}, for {free.processors:g} processors and {memory} of free memory, "
        f"of which each may take {worker_bytes / _MIB:.0f} MiB"
    )
