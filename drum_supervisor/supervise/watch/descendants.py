"""The processes below one of ours, looked at again and again: who serves as its parent does, who is gone, and how."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from drum_supervisor.resources import proctree

SIGHTINGS = 2  # between fork and exec every process looks like its parent
HIGHEST_PIDFD = 511  # beyond, descriptors are left for other things; 1,024 is a usual limit


@dataclass
class Process:
    """A process below ours.

    Attributes:
        since: when it was seen first; `seconds`: how long it was seen, once it is gone.
        status: its wait status as from wait(2), once it is gone; None when that is unknown.
        sightings: how often it was looked at closely; that ends when it is known to be a worker or not. None for one
            that was about to be gone already.
    """

    pid: int
    parent: int
    pidfd: int
    since: float
    sightings: int = 0
    is_like_parent: bool = True
    status: int | None = None
    seconds: float = 0.0

    @property
    def is_worker(self) -> bool:
        """Whether it was seen more than once to do what its parent does."""
        return self.is_like_parent and self.sightings >= SIGHTINGS


class ProcessTable:
    """How processes are looked at; tests have their own."""

    def children(self, pid: int) -> list[int]:
        return [child for child in proctree.children(pid) if not proctree.is_zombie(child)]

    def looks_like_a_worker(self, pid: int, parent: int) -> bool | None:
        return proctree.looks_like_a_worker(pid, parent)

    def open(self, pid: int) -> int:
        """Return a pidfd, -1 where there is none, and the kernel will not tell how the process ended."""
        with suppress(OSError, AttributeError):
            if (pidfd := os.pidfd_open(pid)) <= HIGHEST_PIDFD:
                return pidfd
            os.close(pidfd)
        return -1

    def ended(self, pid: int, pidfd: int) -> int | None:
        return proctree.ended(pid, pidfd)

    def close(self, pidfd: int) -> None:
        if pidfd >= 0:
            os.close(pidfd)


@dataclass
class Descendants:
    """All processes below `root`, as far as they were seen.

    Attributes:
        clock: monotonic seconds.
        here: those that were there at the last look, by pid.
    """

    root: int
    clock: Callable[[], float]
    table: ProcessTable = field(default_factory=ProcessTable)
    here: dict[int, Process] = field(default_factory=dict)

    def look(self) -> tuple[list[Process], list[Process]]:
        """Look at all; return those that are known to be workers since this look, and those that are gone."""
        pids = dict(self.below())
        gone = [self._exited(pid) for pid in list(self.here) if pid not in pids]
        return [self.here[pid] for pid, parent in pids.items() if self._turns_out_a_worker(pid, parent)], gone

    def below(self) -> Iterator[tuple[int, int]]:
        """Yield the pid of each process that is there now, with that of its parent."""
        return self._below(self.root)

    def close(self) -> None:
        for process in self.here.values():
            self.table.close(process.pidfd)
        self.here.clear()

    def _below(self, pid: int) -> Iterator[tuple[int, int]]:
        for child in self.table.children(pid):
            yield child, pid
            yield from self._below(child)

    def _turns_out_a_worker(self, pid: int, parent: int) -> bool:
        """Look closely at a process unless enough is known of it; return whether it is now known to be a worker."""
        if pid not in self.here:
            self.here[pid] = Process(pid, parent, self.table.open(pid), self.clock())
        process = self.here[pid]
        if process.sightings >= SIGHTINGS or not process.is_like_parent:
            return False
        answer = self.table.looks_like_a_worker(pid, parent)
        if answer is None:
            return False
        process.sightings += 1
        process.is_like_parent = answer
        return process.is_worker

    def _exited(self, pid: int) -> Process:
        process = self.here.pop(pid)
        process.status = self.table.ended(pid, process.pidfd)
        process.seconds = self.clock() - process.since
        self.table.close(process.pidfd)
        return process
