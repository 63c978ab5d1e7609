"""The workers that a foreign server starts by itself: watched until it is ready, for nobody tells how they fare.

A master like gunicorn's starts a worker again and again that dies while it loads the model, and never exits. What
counts is a worker that ended badly and that its parent has replaced: a server's helpers, also forked ones that fail,
or that a pool ends with TERM, are not replaced in one breath; and of an end that the kernel does not tell we think
nothing. What a master says about its workers in words that we know counts at once.
"""

import os
import re
import signal
from dataclasses import dataclass, field, replace

from drum_supervisor.supervise.watch.descendants import Descendants, Process

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
class WorkerDeaths:
    """The processes below one run of a server.

    Attributes:
        below: all of them.
    """

    below: Descendants
    _dead: list[Process] = field(default_factory=list)
    _deaths: dict[int, Death] = field(default_factory=dict)
    _gone: dict[int, Process] = field(default_factory=dict)
    _stderr: str = ""

    def look(self, stderr: str) -> list[Death]:
        """Return the deaths of workers that count, and that were found earlier than now.

        By the second look the last words of a worker have arrived, and a master that ends with it is gone.

        Args:
            stderr: the end of what the server wrote there.
        """
        before = list(self._deaths.values())
        new, gone = self.below.look()
        parents = {process.parent for process in new}
        replaced = [Death(dead.pid, dead.status, dead.seconds) for dead in self._dead if dead.parent in parents]
        self._note_exited(gone)
        told = logged_deaths(stderr) if stderr != self._stderr else []
        self._stderr = stderr
        for death in (*replaced, *told):
            self._deaths.setdefault(death.pid, self._completed(death))
        return before

    def count(self) -> int:
        """Return how many workers of its own the server has now."""
        return sum(bool(self.below.table.looks_like_a_worker(*pids)) for pids in self.below.below())

    def close(self) -> None:
        self.below.close()

    def _note_exited(self, gone: list[Process]) -> None:
        """Note those that are gone, and which of them were workers that ended badly."""
        for process in gone:
            self._gone[process.pid] = process
            if process.is_worker and process.status is not None and is_bad(process.status):
                self._dead.append(process)

    def _completed(self, death: Death) -> Death:
        """Add what was seen of a worker to what its master tells of it."""
        if (gone := self._gone.get(death.pid)) is not None:
            return replace(death, status=gone.status if death.status is None else death.status, seconds=gone.seconds)
        here = self.below.here.get(death.pid)
        return replace(death, seconds=self.below.clock() - here.since) if here else death


def is_bad(status: int) -> bool:
    """Return whether a process with this wait status came to grief: exited with a failure, or crashed."""
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) not in _ASKED_TO_GO
    return os.WEXITSTATUS(status) != 0


def logged_deaths(stderr: str) -> list[Death]:
    """Return the bad deaths of workers that a master told of in its log."""
    deaths = [_logged(match) for match in _DIED.finditer(stderr)]
    return [death for death in deaths if death.status is None or is_bad(death.status)]


def _logged(match: "re.Match[str]") -> Death:
    pid = int(match["pid"] or match["old_pid"] or match["boot_pid"] or match["child"])
    if match["code"]:
        return Death(pid, int(match["code"]) << 8)
    if match["number"]:
        return Death(pid, int(match["number"]))
    number: int | None = getattr(signal, match["name"], None) if match["name"] else None
    return Death(pid, number)
