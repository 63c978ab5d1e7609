"""Whether memory ran out while a program ran: the kernel counts whom it kills for that."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.resources.cgroup import read_groups, read_oom_kills
from drum_supervisor.resources.cgroup_paths import Group, Groups, find_groups

_MIB = 1024 * 1024


@dataclass(frozen=True)
class OutOfMemory:
    """The kernel killed a process of the control group for want of memory.

    Attributes:
        limit_bytes: that was reached; None when it cannot be seen from here.
        peak_bytes: the most that was used below that limit; None before Linux 5.19 with version 2.
    """

    limit_bytes: int | None = None
    peak_bytes: int | None = None

    def sentence(self, seconds: float) -> str:
        """Return `out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.2 s after start`."""
        return f"out of memory: killed by the kernel{self._where}, {seconds:.1f} s after start"

    @property
    def addition(self) -> str:
        """What is added to an error that is another one."""
        return f"the kernel also killed a process, out of memory{self._where}"

    @property
    def _where(self) -> str:
        figures = [f"{bytes_ / _MIB:.1f} MiB" for bytes_ in (self.peak_bytes, self.limit_bytes) if bytes_ is not None]
        return f" at {' of '.join(figures)}" if self.limit_bytes is not None else ""


class KillCounter:
    """How many processes of a control group were killed, since this was made.

    Attributes:
        kills: as of the last look.
        last: the figures of the last of them; None without any.
        last_at: when that was seen, on the clock.
    """

    def __init__(self, groups: Groups, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.kills = 0
        self.last: OutOfMemory | None = None
        self.last_at = -math.inf
        self._groups = groups
        self._count = read_oom_kills(groups)

    @property
    def is_told(self) -> bool:
        """Whether the kernel tells anything of this group."""
        return self._count is not None

    def look(self) -> int:
        """Read the kernel's counter, one small file; return `kills`."""
        count = read_oom_kills(self._groups)
        if self._count is not None and count is not None and count > self._count:
            self.kills += count - self._count
            self.last, self.last_at = self._figures(), self.clock()
        self._count = self._count if count is None else count
        return self.kills

    def _figures(self) -> OutOfMemory:
        memory = read_groups(self._groups).memory
        if memory.limiting is not None:
            return OutOfMemory(memory.limiting.limit_bytes, memory.limiting.peak_bytes)
        return OutOfMemory(memory.limit_bytes, memory.peak_bytes)


class MemoryWatch:
    """What the counter says about one run, from its start on."""

    def __init__(self, counter: KillCounter) -> None:
        self.counter = counter
        self._before = counter.look()

    def verdict(self, within: float = math.inf) -> OutOfMemory | None:
        """Return what there is to say when the kernel has killed since the start; it may have been a neighbour.

        Args:
            within: so many seconds from now back.
        """
        killed = self.counter.look() > self._before
        return self.counter.last if killed and self.counter.clock() - self.counter.last_at <= within else None


class KillCounters:
    """The counters of all control groups that programs of ours were in, mostly one.

    Args:
        clock: monotonic seconds.
        root: where /proc is.
    """

    def __init__(self, clock: Callable[[], float], root: Path = Path("/")) -> None:
        self._clock = clock
        self._root = root
        self._counters: dict[Group | None, KillCounter] = {}

    def watch(self, pid: int) -> MemoryWatch:
        """Find the group of `pid`, which has just been started: the dead are in none."""
        groups = find_groups(pid, self._root)
        if groups.memory not in self._counters:
            self._counters[groups.memory] = KillCounter(groups, self._clock)
        return MemoryWatch(self._counters[groups.memory])

    def look(self) -> int:
        """Return how many processes were killed in all these groups."""
        return sum(counter.look() for counter in self._counters.values())

    @property
    def latest(self) -> KillCounter | None:
        """The counter that has risen last; None when none has."""
        risen = [counter for counter in self._counters.values() if counter.kills]
        return max(risen, key=lambda counter: counter.last_at, default=None)
