"""Finds the victims of OOM kills below servers that go on: a master replaces the worker, and reports nothing.

The kernel only counts kills. When the counter has risen, the processes that have exited by SIGKILL, or with an unknown
status, are its candidates.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drum_supervisor.resources.oom import OomKillCounter
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.watch.descendants import Descendant, Descendants
from drum_supervisor.supervise.watch.worker_deaths import parse_logged_deaths

CHECK_INTERVAL = 1.0  # seconds
LOG_LINE_DELAY = 0.5  # seconds until a master has reaped and logged; less than CHECK_INTERVAL
ATTRIBUTION_SECONDS = 5.0  # the kernel counts first; a process with much memory takes a while to exit
WALK_CPU_SHARE = 0.0001  # of one CPU: the more threads there are, the longer a walk takes
MAX_EXITED = 500


@dataclass(frozen=True)
class Victim:
    """A process that was OOM-killed."""

    pid: int | None = None  # None: no process below the program was seen to exit; it may have been a neighbour
    is_worker: bool = False  # of a server that has its own workers
    is_confirmed: bool = False  # SIGKILL is known to have ended it

    def describe(self, program: str) -> str:
        """Return `worker 4243 of model-server (pid 4240)`."""
        if self.pid is None:
            return f"a process in the control group of {program}"
        return f"worker {self.pid} of {program}" if self.is_worker else f"process {self.pid} below {program}"


class OomWatch:
    """Watches runs while they last, and the counters of their control groups for good."""

    def __init__(
        self,
        timers: Timers,
        on_kill: Callable[[Run, Victim], None],
        make_descendants: Callable[[int, Callable[[], float]], Descendants] = Descendants,
    ) -> None:
        self._timers = timers
        self._on_kill = on_kill
        self._make_descendants = make_descendants
        self._groups: dict[OomKillCounter, _CgroupWatch] = {}

    def add(self, run: Run, counter: OomKillCounter) -> None:
        """Watch a run that was just started; without effect where the kernel has no counter."""
        if not counter.is_supported:
            return
        group = self._groups.setdefault(counter, _CgroupWatch(counter))
        group.runs.append(_RunWatch(run, self._make_descendants(run.pid, self._timers.clock)))
        if self._timers.at(self) is None:  # do not postpone the check: runs may start every second
            self._timers.set(self, CHECK_INTERVAL, self._check)

    def _check(self) -> None:
        self._timers.set(self, CHECK_INTERVAL, self._check)
        for group in self._groups.values():
            group.forget_ended()
            for run, victim in group.find_victims():
                self._on_kill(run, victim)


@dataclass
class _CgroupWatch:
    counter: OomKillCounter
    attributed: int = 0  # the number of kills whose victim is known
    runs: list["_RunWatch"] = field(default_factory=list)
    unattributed_since: float | None = None  # when the first of the other kills was counted

    def forget_ended(self) -> None:
        # Their failure reports mention the kills.
        for run in [each for each in self.runs if not each.run.is_running]:
            self.attributed = self.counter.refresh()
            run.descendants.close()
            self.runs.remove(run)

    def find_victims(self) -> list[tuple[Run, Victim]]:
        if not self.runs:
            self.attributed = self.counter.refresh()
            return []
        for run in self.runs:
            run.walk_if_due()
        kills = self.counter.refresh() - self.attributed
        found = self._candidates()[:kills] if kills else []
        if self._is_overdue(kills - len(found)):
            found += [(self.runs[0].run, Victim())] * (kills - len(found))
        for run in self.runs:
            run.forget_exited()
        self.attributed += len(found)
        return found

    def _candidates(self) -> list[tuple[Run, Victim]]:
        candidates = [(each.run, victim) for each in self.runs for victim in each.candidates()]
        return sorted(candidates, key=lambda one: (not one[1].is_confirmed, not one[1].is_worker))

    def _is_overdue(self, kills: int) -> bool:
        now = self.counter.clock()
        if not kills:
            self.unattributed_since = None
        elif self.unattributed_since is None:
            self.unattributed_since = now
        return self.unattributed_since is not None and now - self.unattributed_since >= ATTRIBUTION_SECONDS


@dataclass
class _RunWatch:
    run: Run
    descendants: Descendants
    _walk_at: float = 0.0
    _killed: list[Descendant] = field(default_factory=list)  # possibly, since the last check
    _exited: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_EXITED))

    def walk_if_due(self) -> None:
        if self.descendants.clock() >= self._walk_at:
            self._walk()

    def candidates(self) -> Iterator[Victim]:
        self._walk()
        deaths = parse_logged_deaths(self.run.stderr_tail.text())
        logged = {death.pid: death.status == signal.SIGKILL for death in deaths if _may_be_killed(death.status)}
        for process in self._killed:
            if process.pid not in logged and self._may_be_logged(process):
                continue
            is_confirmed = process.status is not None or logged.get(process.pid, False)
            yield Victim(process.pid, process.pid in logged or self._is_worker(process), is_confirmed)
        for pid in logged.keys() - self._exited - self.descendants.running.keys():  # lived too briefly to be seen
            self._exited.append(pid)
            yield Victim(pid, is_worker=True, is_confirmed=logged[pid])

    def forget_exited(self) -> None:
        # Later OOM kills cannot be theirs. Those not yet classified are kept.
        self._killed = [process for process in self._killed if self._may_be_logged(process)]

    def _walk(self) -> None:
        started = self.descendants.clock()
        _, exited = self.descendants.refresh()
        self._walk_at = started + (self.descendants.clock() - started) / WALK_CPU_SHARE
        self._exited += [process.pid for process in exited]
        self._killed += [process for process in exited if _may_be_killed(process.status)]

    def _may_be_logged(self, process: Descendant) -> bool:
        # An unclassified process that has just exited: its master may still log its death.
        age = self.descendants.clock() - process.first_seen_at - process.lifetime
        return process.sightings == 0 and age < LOG_LINE_DELAY

    def _is_worker(self, process: Descendant) -> bool:
        # A worker of the server, not a process that a worker forked for itself.
        parent = self.descendants.running.get(process.parent)
        return process.sightings > 0 and process.is_like_parent and not (parent and parent.is_like_parent)


def _may_be_killed(status: int | None) -> bool:
    return status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
