"""Replacing workers before they make trouble: those that have grown too large, and those that say they are spent."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drum_supervisor.config.parsers import Share, size
from drum_supervisor.resources import proctree
from drum_supervisor.resources.cgroup import read_cgroup
from drum_supervisor.supervise.engine.timers import Timers

LOOK_EVERY = 2.0  # seconds; a third more or less, so that workers that began together are not found together
LOOKS = 3


@dataclass(frozen=True)
class OverMemoryLimit:
    """A worker that was too large, several times in a row."""

    place: int
    pid: int
    used: int
    most: int

    @property
    def sentence(self) -> str:
        who = f"worker {self.place} (pid {self.pid})"
        return f"{who} uses {size(self.used)}, more than {size(self.most)} (--max-worker-memory), and is replaced"


class MemoryLimitWatch:
    """Looks after the memory of the workers that serve.

    Args:
        most: resident memory that each may have, with all that it has started, in bytes, or a part of the limit of its
            control group; without such a limit a part means nothing.
        serving: returns the pid of each worker that is ready, by its place.
        copies: how many model server processes one worker stands for: gunicorn's master has several.
        on_grown: what to do about one that was too large each of the last few times.
    """

    def __init__(
        self,
        timers: Timers,
        most: Share,
        serving: Callable[[], Mapping[int, int]],
        copies: int,
        on_grown: Callable[[OverMemoryLimit], None],
    ) -> None:
        self._timers = timers
        self._most = most
        self._serving = serving
        self._copies = copies
        self._on_grown = on_grown
        self._too_large: dict[int, int] = {}
        self._plan()

    def _plan(self) -> None:
        self._timers.set(self, LOOK_EVERY * random.uniform(2 / 3, 4 / 3), self._look)

    def _look(self) -> None:
        serving = self._serving()
        self._too_large = {pid: self._too_large.get(pid, 0) for pid in serving.values()}
        for place, pid in serving.items():
            self._look_at(place, pid)
        self._plan()

    def _look_at(self, place: int, pid: int) -> None:
        used, most = proctree.memory_bytes(pid), self._most.of(read_cgroup(pid).memory.limit_bytes)
        if used is None or most is None or used <= most * self._copies:
            self._too_large[pid] = 0
            return
        self._too_large[pid] += 1
        if self._too_large[pid] == LOOKS:
            self._on_grown(OverMemoryLimit(place, pid, used, most * self._copies))
