"""OOM kills during the run of a program, by the kernel's counter in each control group."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.resources.cgroup import read_groups, read_oom_kills
from drum_supervisor.resources.cgroup_paths import Group, Groups, find_groups

_MIB = 1024 * 1024


@dataclass(frozen=True)
class OutOfMemory:
    """An OOM kill in the control group."""

    limit_bytes: int | None = None  # the limit reached; None when it is not visible
    peak_bytes: int | None = None  # the peak usage under that limit; None with version 2 before Linux 5.19

    def sentence(self, seconds: float) -> str:
        """Return `out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.2 s after start`."""
        return f"out of memory: killed by the kernel{self._where}, {seconds:.1f} s after start"

    @property
    def addition(self) -> str:
        """The clause added to a failure with another reason."""
        return f"the kernel also killed a process, out of memory{self._where}"

    @property
    def _where(self) -> str:
        sizes = [f"{size / _MIB:.1f} MiB" for size in (self.peak_bytes, self.limit_bytes) if size is not None]
        return f" at {' of '.join(sizes)}" if self.limit_bytes is not None else ""


class KillCounter:
    """Counts the OOM kills in a control group since its creation, as of the last `look`."""

    def __init__(self, groups: Groups, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.kills = 0
        self.last: OutOfMemory | None = None
        self.last_at = -math.inf  # when `look` saw the last kill, on the clock
        self._groups = groups
        self._count = read_oom_kills(groups)

    @property
    def is_told(self) -> bool:
        """Whether the kernel has a counter for this group."""
        return self._count is not None

    def look(self) -> int:
        """Update from the kernel's counter, one small file; return `kills`."""
        count = read_oom_kills(self._groups)
        if self._count is not None and count is not None and count > self._count:
            self.kills += count - self._count
            self.last, self.last_at = self._read_limit(), self.clock()
        self._count = self._count if count is None else count
        return self.kills

    def _read_limit(self) -> OutOfMemory:
        memory = read_groups(self._groups).memory
        if memory.limiting is not None:
            return OutOfMemory(memory.limiting.limit_bytes, memory.limiting.peak_bytes)
        return OutOfMemory(memory.limit_bytes, memory.peak_bytes)


class MemoryWatch:
    """The OOM kills in the control group during one run."""

    def __init__(self, counter: KillCounter) -> None:
        self.counter = counter
        self._before = counter.look()

    def verdict(self, within: float = math.inf) -> OutOfMemory | None:
        """Return the last kill since the start, and at most `within` seconds ago; the victim may be a neighbour."""
        killed = self.counter.look() > self._before
        return self.counter.last if killed and self.counter.clock() - self.counter.last_at <= within else None


class KillCounters:
    """The counters of all control groups of our programs, mostly one."""

    def __init__(self, clock: Callable[[], float], root: Path = Path("/")) -> None:
        self._clock = clock
        self._root = root
        self._counters: dict[Group | None, KillCounter] = {}

    def watch(self, pid: int) -> MemoryWatch:
        """Watch the group of `pid`, a new process."""
        groups = find_groups(pid, self._root)  # must be alive: a dead process has no group
        if groups.memory not in self._counters:
            self._counters[groups.memory] = KillCounter(groups, self._clock)
        return MemoryWatch(self._counters[groups.memory])

    def look(self) -> int:
        """Return the number of kills in all groups."""
        return sum(counter.look() for counter in self._counters.values())

    @property
    def latest(self) -> KillCounter | None:
        """The counter with the latest kill; None without any."""
        increased = [counter for counter in self._counters.values() if counter.kills]
        return max(increased, key=lambda counter: counter.last_at, default=None)
