"""The workers that a foreign server starts by itself: watched until it is ready, for nobody tells how they fare.

A master like gunicorn's starts a worker again and again that dies while it loads the model, and never exits. What
counts is a worker that ended badly and that its parent has replaced: a server's helpers, also forked ones that fail,
or that a pool ends with TERM, are not replaced in one breath; and of an end that the kernel does not tell we think
nothing. What a master says about its workers in words that we know counts at once.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from drum_supervisor.supervise import tree

SIGHTINGS = 2  # between fork and exec every process looks like its parent

_ASKED_TO_GO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_DIED = re.compile(
    r"Worker \(pid: ?(?P<pid>\d+)\) (?:exited with code (?P<code>\d+)|was sent (?P<name>SIG[A-Z0-9]+)!)"  # gunicorn
    r"|Worker with pid (?P<old_pid>\d+) was terminated due to signal (?P<number>\d+)"  # gunicorn before 21
    r"|\[(?P<boot_pid>\d+)\] \[ERROR\] Exception in worker process"  # gunicorn, of one that dies in a moment
    r"|Child process \[(?P<child>\d+)\] died"  # uvicorn
)


@dataclass(frozen=True)
class Death:
    """The bad end of a server's own worker.

    Attributes:
        status: as from wait(2), None when it is unknown.
        seconds: how long it was seen to live.
    """

    pid: int
    status: int | None
    seconds: float = 0.0


@dataclass
class _Worker:
    pid: int
    parent: int
    pidfd: int
    since: float
    sightings: int = 0
    is_like_parent: bool = True


class Kin:
    """How processes are looked at; tests have their own."""

    def children(self, pid: int) -> list[int]:
        return [child for child in tree.children(pid) if not tree.is_zombie(child)]

    def looks_like_a_worker(self, pid: int, parent: int) -> bool:
        return tree.looks_like_a_worker(pid, parent)

    def open(self, pid: int) -> int:
        """Return a pidfd, -1 where there is none."""
        with suppress(OSError, AttributeError):
            return os.pidfd_open(pid)
        return -1

    def ended(self, pid: int, pidfd: int) -> int | None:
        return tree.ended(pid, pidfd)

    def close(self, pidfd: int) -> None:
        if pidfd >= 0:
            os.close(pidfd)


@dataclass
class Offspring:
    """The processes below one run of a server.

    Attributes:
        root: the server's process.
        clock: monotonic seconds.
    """

    root: int
    clock: Callable[[], float]
    kin: Kin = field(default_factory=Kin)
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _dead: list[tuple[Death, int]] = field(default_factory=list)
    _deaths: dict[int, Death] = field(default_factory=dict)
    _lived: dict[int, float] = field(default_factory=dict)
    _stderr: str = ""

    def look(self, stderr: str) -> list[Death]:
        """Return the deaths of workers that count, and that were found earlier than now.

        By the second look the last words of a worker have arrived, and a master that ends with it is gone.

        Args:
            stderr: the end of what the server wrote there.
        """
        before = list(self._deaths.values())
        here = dict(self._below(self.root))
        new = self._parents_of_new_workers(here)
        told = told_deaths(stderr) if stderr != self._stderr else []
        self._stderr = stderr
        for death in (*(death for death, parent in self._dead if parent in new), *told):
            self._deaths.setdefault(death.pid, replace(death, seconds=death.seconds or self._age(death.pid)))
        self._bury(here)
        return before

    def count(self) -> int:
        """Return how many workers of its own the server has now."""
        return sum(self.kin.looks_like_a_worker(pid, parent) for pid, parent in self._below(self.root))

    def close(self) -> None:
        for worker in self._workers.values():
            self.kin.close(worker.pidfd)
        self._workers.clear()

    def _parents_of_new_workers(self, here: Mapping[int, int]) -> set[int]:
        """Look at all processes that are here; return the parents of those that were found to be workers now."""
        parents = set()
        for pid, parent in here.items():
            worker = self._workers.get(pid)
            if worker is None:
                self._workers[pid] = worker = _Worker(pid, parent, self.kin.open(pid), self.clock())
            if worker.sightings >= SIGHTINGS or not worker.is_like_parent:
                continue
            worker.sightings += 1
            worker.is_like_parent = self.kin.looks_like_a_worker(pid, parent)
            if worker.is_like_parent and worker.sightings == SIGHTINGS:
                parents.add(parent)
        return parents

    def _bury(self, here: Mapping[int, int]) -> None:
        """Note the workers that are gone, and how they ended."""
        for worker in [worker for pid, worker in self._workers.items() if pid not in here]:
            status = self.kin.ended(worker.pid, worker.pidfd)
            self._lived[worker.pid] = self._age(worker.pid)
            if worker.is_like_parent and worker.sightings >= SIGHTINGS and status is not None and is_bad(status):
                self._dead.append((Death(worker.pid, status, self._age(worker.pid)), worker.parent))
            self.kin.close(worker.pidfd)
            del self._workers[worker.pid]

    def _age(self, pid: int) -> float:
        worker = self._workers.get(pid)
        return self.clock() - worker.since if worker else self._lived.get(pid, 0.0)

    def _below(self, pid: int) -> Iterator[tuple[int, int]]:
        """Yield all processes below `pid`, with the parent of each."""
        for child in self.kin.children(pid):
            yield child, pid
            yield from self._below(child)


def is_bad(status: int) -> bool:
    """Return whether a process with this wait status came to grief: exited with a failure, or crashed."""
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) not in _ASKED_TO_GO
    return os.WEXITSTATUS(status) != 0


def told_deaths(stderr: str) -> list[Death]:
    """Return the bad deaths of workers that a master told of in its log."""
    deaths = [_told(match) for match in _DIED.finditer(stderr)]
    return [death for death in deaths if death.status is None or is_bad(death.status)]


def _told(match: "re.Match[str]") -> Death:
    pid = int(match["pid"] or match["old_pid"] or match["boot_pid"] or match["child"])
    if match["code"]:
        return Death(pid, int(match["code"]) << 8)
    if match["number"]:
        return Death(pid, int(match["number"]))
    number: int | None = getattr(signal, match["name"], None) if match["name"] else None
    return Death(pid, number)
