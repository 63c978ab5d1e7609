"""`--workers auto`: as many workers as the CPUs and the memory of the container, not of its host, allow."""

import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from drum_supervisor.config.parsers import MAX_WORKERS
from drum_supervisor.config.settings import Settings
from drum_supervisor.resources.cgroup import read_cgroup

_MIB = 1024 * 1024

# A worker of the built-in model server without a model has 170 MiB, most of it libraries.
BARE_WORKER_BYTES = 256 * _MIB

# An artifact takes about as much memory as disk space, and twice that while it is loaded.
MODEL_COPIES = 2


@dataclass(frozen=True)
class Capacity:
    """The CPUs and memory that are available to workers."""

    processors: float
    memory_bytes: int | None  # None: unknown

    def count_workers(self, worker_bytes: int) -> int:
        """Return how many workers of that size fit, at least one."""
        for_memory = MAX_WORKERS if self.memory_bytes is None else self.memory_bytes // worker_bytes
        return max(1, min(math.floor(self.processors), for_memory, MAX_WORKERS))


def resolve_workers(settings: Settings, shares_listener: bool) -> tuple[Settings, str]:
    """Return the settings with a number of workers instead of `auto`, and a sentence that explains it."""
    if not shares_listener:
        return replace(settings, workers=1), "workers: 1, because the command binds the port itself"
    capacity = read_capacity(os.getpid(), len(os.sched_getaffinity(0)))
    worker_bytes = BARE_WORKER_BYTES + MODEL_COPIES * measure_folder(settings.code_dir)
    count = capacity.count_workers(worker_bytes)
    return replace(settings, workers=count), _explain(count, capacity, worker_bytes)


def read_capacity(pid: int, processors: float, root: Path = Path("/")) -> Capacity:
    """Return the capacity of the cgroup of `pid`, within that of the machine.

    Args:
        processors: the CPUs that the process may run on.
    """
    cgroup = read_cgroup(pid, root)
    if cgroup.cpu.quota_cores is not None:
        processors = min(processors, cgroup.cpu.quota_cores)
    available = _read_available_memory(root)
    if cgroup.memory.limit_bytes is None:
        return Capacity(processors, available)
    free = max(cgroup.memory.limit_bytes - (cgroup.memory.working_set_bytes or 0), 0)
    return Capacity(processors, free if available is None else min(free, available))


def measure_folder(folder: str) -> int:
    """Return the bytes of all files in a folder; a file with several names counts once."""
    sizes = {}
    for path in (Path(parent) / name for parent, _, names in os.walk(folder) for name in names):
        with suppress(OSError):
            status = path.stat()
            sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _read_available_memory(root: Path) -> int | None:
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", (root / "proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _explain(count: int, capacity: Capacity, worker_bytes: int) -> str:
    memory = "an unknown amount" if capacity.memory_bytes is None else f"{capacity.memory_bytes / _MIB:.0f} MiB"
    return (
        f"workers: {count}, for {capacity.processors:g} processors and {memory} of free memory, "
        f"of which each may take {worker_bytes / _MIB:.0f} MiB"
    )
