"""OOM kills during the run of a program, by the kernel's counter in each control group."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from drum_supervisor.resources.cgroup import read_groups, read_oom_kills
from drum_supervisor.resources.cgroup_paths import Group, Groups, find_groups

_MIB = 1024 * 1024


@dataclass(frozen=True)
class OomKill:
    """An OOM kill in the control group."""

    limit_bytes: int | None = None  # the limit reached; None when it is not visible
    peak_bytes: int | None = None  # the peak usage under that limit; None with version 2 before Linux 5.19

    def describe(self, seconds: float) -> str:
        """Return `out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.2 s after start`."""
        return f"out of memory: killed by the kernel{self._where}, {seconds:.1f} s after start"

    @property
    def clause(self) -> str:
        """The clause added to a failure with another reason."""
        return f"the kernel also killed a process, out of memory{self._where}"

    @property
    def _where(self) -> str:
        sizes = [f"{size / _MIB:.1f} MiB" for size in (self.peak_bytes, self.limit_bytes) if size is not None]
        return f" at {' of '.join(sizes)}" if self.limit_bytes is not None else ""


class OomKillCounter:
    """Counts the OOM kills in a control group since its creation, as of the last `refresh`."""

    def __init__(self, groups: Groups, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.kills = 0
        self.last_kill: OomKill | None = None
        self.last_kill_at = -math.inf  # when `refresh` saw the last kill, on the clock
        self._groups = groups
        self._count = read_oom_kills(groups)

    @property
    def is_supported(self) -> bool:
        """Whether the kernel has a counter for this group."""
        return self._count is not None

    def refresh(self) -> int:
        """Update from the kernel's counter, one small file; return `kills`."""
        count = read_oom_kills(self._groups)
        if self._count is not None and count is not None and count > self._count:
            self.kills += count - self._count
            self.last_kill, self.last_kill_at = self._read_limit(), self.clock()
        self._count = self._count if count is None else count
        return self.kills

    def _read_limit(self) -> OomKill:
        memory = read_groups(self._groups).memory
        if memory.limiting is not None:
            return OomKill(memory.limiting.limit_bytes, memory.limiting.peak_bytes)
        return OomKill(memory.limit_bytes, memory.peak_bytes)


class _RunKills(NamedTuple):
    pid: int
    counter: OomKillCounter
    kills_before: int


class OomKillCounters:
    """The counters of all control groups of our programs, mostly one."""

    def __init__(self, clock: Callable[[], float], root: Path = Path("/")) -> None:
        self._clock = clock
        self._root = root
        self._counters: dict[Group | None, OomKillCounter] = {}
        self._runs: dict[str, _RunKills] = {}  # the last run of each program

    def watch(self, program: str, pid: int) -> OomKillCounter:
        """Watch the group of `pid`, a new process of a program; return the counter of the group."""
        groups = find_groups(pid, self._root)  # must be alive: a dead process has no group
        if groups.memory not in self._counters:
            self._counters[groups.memory] = OomKillCounter(groups, self._clock)
        counter = self._counters[groups.memory]
        self._runs[program] = _RunKills(pid, counter, counter.refresh())
        return counter

    def find_last(self, program: str, pid: int, within: float = math.inf) -> OomKill | None:
        """Return the last kill during a run, and at most `within` seconds ago; the victim may be a neighbour."""
        run = self._runs.get(program)
        if run is None or run.pid != pid or run.counter.refresh() == run.kills_before:
            return None
        return run.counter.last_kill if self._clock() - run.counter.last_kill_at <= within else None

    def refresh(self) -> int:
        """Return the number of kills in all groups."""
        return sum(counter.refresh() for counter in self._counters.values())

    @property
    def latest(self) -> OomKillCounter | None:
        """The counter with the latest kill; None without any."""
        increased = [counter for counter in self._counters.values() if counter.kills]
        return max(increased, key=lambda counter: counter.last_kill_at, default=None)
