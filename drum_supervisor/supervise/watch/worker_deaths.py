"""Deaths of the workers that a third-party server starts by itself, found while the server starts.

A master like gunicorn's restarts a worker that dies while it loads the model, again and again, and never exits itself.
A death counts when the worker failed and its parent replaced it: the helpers of a server, forked or not, are not
replaced at once when they fail, or when a pool ends them with TERM; and an unknown wait status proves nothing. A death
that the master logs in a known form counts at once.
"""

import os
import re
import signal
from dataclasses import dataclass, field, replace

from drum_supervisor.supervise.watch.descendants import Descendant, Descendants

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_DIED = re.compile(
    r"Worker \(pid: ?(?P<pid>\d+)\) (?:exited with code (?P<code>\d+)|was sent (?P<name>SIG[A-Z0-9]+)!)"  # gunicorn
    r"|Worker with pid (?P<old_pid>\d+) was terminated due to signal (?P<number>\d+)"  # gunicorn before 21
    r"|\[(?P<boot_pid>\d+)\] \[ERROR\] Exception in worker process"  # gunicorn; the worker exits right after it
    r"|Child process \[(?P<child>\d+)\] died"  # uvicorn
)


@dataclass(frozen=True)
class Death:
    """A failed worker of a server."""

    pid: int
    status: int | None  # the wait status as from wait(2); None when unknown
    lifetime: float = 0.0  # seconds for which it was observed


@dataclass
class WorkerDeaths:
    """Collects the deaths of one server's own workers, from walks of its tree and from its log."""

    descendants: Descendants
    _failed: list[Descendant] = field(default_factory=list)
    _deaths: dict[int, Death] = field(default_factory=dict)
    _exited: dict[int, Descendant] = field(default_factory=dict)
    _known: list[Death] = field(default_factory=list)  # at the last check
    _stderr: str = ""

    def note(self, new_workers: list[Descendant], exited: list[Descendant]) -> None:
        """Note what a walk has found."""
        parents = {process.parent for process in new_workers}
        self._add([Death(dead.pid, dead.status, dead.lifetime) for dead in self._failed if dead.parent in parents])
        for process in exited:
            self._exited[process.pid] = process
            if process.is_worker and process.status is not None and is_failure(process.status):
                self._failed.append(process)

    def check(self, stderr: str) -> list[Death]:
        """Look for deaths in the last output on `stderr`; return those that were known at the last check."""
        # The delay lets the last output of a worker arrive, and lets a master that exits with its worker be reaped.
        if stderr != self._stderr:
            self._add(parse_logged_deaths(stderr))
        self._stderr = stderr
        before, self._known = self._known, list(self._deaths.values())
        return before

    def _add(self, deaths: list[Death]) -> None:
        for death in deaths:
            self._deaths.setdefault(death.pid, self._complete(death))

    def _complete(self, death: Death) -> Death:
        if (exited := self._exited.get(death.pid)) is not None:
            status = exited.status if death.status is None else death.status
            return replace(death, status=status, lifetime=exited.lifetime)
        running = self.descendants.running.get(death.pid)
        return replace(death, lifetime=self.descendants.clock() - running.first_seen_at) if running else death


def is_failure(status: int) -> bool:
    """Return whether a wait status means a failure: a non-zero exit code, or a signal other than a stop signal."""
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status) not in _STOP_SIGNALS
    return os.WEXITSTATUS(status) != 0


def parse_logged_deaths(stderr: str) -> list[Death]:
    deaths = [_parse(match) for match in _DIED.finditer(stderr)]
    return [death for death in deaths if death.status is None or is_failure(death.status)]


def _parse(match: "re.Match[str]") -> Death:
    pid = int(match["pid"] or match["old_pid"] or match["boot_pid"] or match["child"])
    if match["code"]:
        return Death(pid, int(match["code"]) << 8)
    if match["number"]:
        return Death(pid, int(match["number"]))
    number: int | None = getattr(signal, match["name"], None) if match["name"] else None
    return Death(pid, number)
