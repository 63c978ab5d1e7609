"""The descendants of a process, found by repeated walks: which are workers, which have exited, and how."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from drum_supervisor.resources import proctree

SIGHTINGS = 2  # between fork and exec every process looks like its parent
MAX_PIDFD = 511  # higher descriptors are left for other things; 1,024 is a usual limit


@dataclass
class Descendant:
    pid: int
    parent: int  # the pid of its parent
    pidfd: int
    first_seen_at: float
    sightings: int = 0  # how often it was examined; stays 0 if it was already exiting when it was found
    is_like_parent: bool = True
    status: int | None = None  # the wait status as from wait(2); None while it runs, or when unknown
    lifetime: float = 0.0  # seconds from the first sighting to its exit

    @property
    def is_worker(self) -> bool:
        return self.is_like_parent and self.sightings >= SIGHTINGS


class ProcessTable:
    """The kernel's process table; tests replace it."""

    def children(self, pid: int) -> list[int]:
        return [child for child in proctree.children(pid) if not proctree.is_zombie(child)]

    def looks_like_worker(self, pid: int, parent: int) -> bool | None:
        return proctree.looks_like_worker(pid, parent)

    def open_pidfd(self, pid: int) -> int:
        """Return a pidfd, or -1; without one the kernel does not report how the process ended."""
        with suppress(OSError, AttributeError):
            if (pidfd := os.pidfd_open(pid)) <= MAX_PIDFD:
                return pidfd
            os.close(pidfd)
        return -1

    def read_wait_status(self, pid: int, pidfd: int) -> int | None:
        return proctree.read_wait_status(pid, pidfd)

    def close_pidfd(self, pidfd: int) -> None:
        if pidfd >= 0:
            os.close(pidfd)


@dataclass
class Descendants:
    """The descendants of `root`, as of the last refresh."""

    root: int
    clock: Callable[[], float]  # monotonic seconds
    table: ProcessTable = field(default_factory=ProcessTable)
    running: dict[int, Descendant] = field(default_factory=dict)  # by pid

    def refresh(self) -> tuple[list[Descendant], list[Descendant]]:
        """Walk the tree; return the processes newly identified as workers, and those that have exited."""
        pids = dict(self.walk())
        exited = [self._forget(pid) for pid in list(self.running) if pid not in pids]
        return [self.running[pid] for pid, parent in pids.items() if self._identify_worker(pid, parent)], exited

    def walk(self) -> Iterator[tuple[int, int]]:
        """Yield the pid of each process that runs now, with the pid of its parent."""
        return self._walk(self.root)

    def count_workers(self) -> int:
        """Return the number of processes that look like workers now."""
        return sum(bool(self.table.looks_like_worker(*pids)) for pids in self.walk())

    def close(self) -> None:
        for process in self.running.values():
            self.table.close_pidfd(process.pidfd)
        self.running.clear()

    def _walk(self, pid: int) -> Iterator[tuple[int, int]]:
        for child in self.table.children(pid):
            yield child, pid
            yield from self._walk(child)

    def _identify_worker(self, pid: int, parent: int) -> bool:
        if pid not in self.running:
            self.running[pid] = Descendant(pid, parent, self.table.open_pidfd(pid), self.clock())
        process = self.running[pid]
        if process.sightings >= SIGHTINGS or not process.is_like_parent:
            return False
        is_like_parent = self.table.looks_like_worker(pid, parent)
        if is_like_parent is None:  # it is exiting
            return False
        process.sightings += 1
        process.is_like_parent = is_like_parent
        return process.is_worker

    def _forget(self, pid: int) -> Descendant:
        process = self.running.pop(pid)
        process.status = self.table.read_wait_status(pid, process.pidfd)
        process.lifetime = self.clock() - process.first_seen_at
        self.table.close_pidfd(process.pidfd)
        return process
