"""Watches a server's own workers: did one die while the server was starting? Was one OOM-killed?

Its master replaces such a worker, and reports nothing. The kernel only counts OOM kills: when the counter has risen,
the processes that have exited by SIGKILL, or with an unknown status, are the candidates.
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
from drum_supervisor.supervise.watch.worker_deaths import Death, WorkerDeaths, parse_logged_deaths

PROBATION_INTERVAL, OOM_INTERVAL = 0.1, 1.0  # seconds between checks; durations below are in seconds too
MIN_CONFIRMATION, MAX_CONFIRMATION = 0.5, 10.0
MIN_PROBATION = 30.0
DEATHS_ON_PROBATION = 2
LOG_LINE_DELAY = 0.5  # until a master has reaped and logged; less than OOM_INTERVAL
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


class WorkerWatch:
    """Watches runs while they last, and the OOM counters of their control groups for good.

    Third-party servers are on probation from their start. Before such a run is ready, one death of a worker is enough.
    Later, workers may die for other reasons: it takes two deaths then, each within the time that a worker needs to
    boot. Probation lasts until 30 seconds after the first good answer, or three times as long as that took.

    Args:
        on_death: called with a run that has failed because of its workers, which its master may restart for ever, and
            the pid and wait status of one of them.
        on_oom_kill: called for each OOM kill below a run that goes on.
    """

    def __init__(
        self,
        timers: Timers,
        on_death: Callable[[Run, int, int | None], None],
        on_oom_kill: Callable[[Run, Victim], None],
        make_descendants: Callable[[int, Callable[[], float]], Descendants] = Descendants,
    ) -> None:
        self._timers = timers
        self._on_death = on_death
        self._on_oom_kill = on_oom_kill
        self._make_descendants = make_descendants
        self._on_probation: list[_WatchedRun] = []
        self._groups: dict[OomKillCounter, _WatchedGroup] = {}

    def add(self, run: Run, counter: OomKillCounter, on_probation: bool) -> None:
        """Watch a run that was just started; OOM kills only where the kernel has a counter."""
        watched = _WatchedRun(run, self._make_descendants(run.pid, self._timers.clock), counter.is_supported)
        if on_probation:
            watched.deaths = WorkerDeaths(watched.descendants)
            self._on_probation.append(watched)
            self._schedule(self._check_probation, PROBATION_INTERVAL)
        if counter.is_supported:
            self._groups.setdefault(counter, _WatchedGroup(counter)).runs.append(watched)
            self._schedule(self._check_oom_kills, OOM_INTERVAL)

    def needs_confirmation(self) -> bool:
        """Return whether one good answer does not yet mean ready, because a server has several workers."""
        # It is unknown which of them answered. They started together, so the others get half as much time again as the
        # first one needed; until then every answer must be good, and no worker may die.
        unconfirmed = [self._is_unconfirmed(each) for each in self._on_probation if each.run.is_starting]
        return any(unconfirmed)  # a list, not a generator: each run must note its first answer

    def find_fatal_death(self, run: Run) -> int | None:
        """Return the pid of the worker whose death ended a run on probation: it was logged with the same status."""
        # A run that was killed by a signal did not exit because of a worker, whatever killed that.
        status = run.status
        if status is None or not os.WIFEXITED(status) or not any(each.run is run for each in self._on_probation):
            return None
        pids = [death.pid for death in parse_logged_deaths(run.stderr_tail.text()) if death.status == status]
        return pids[-1] if pids else None

    def _schedule(self, check: Callable[[], None], seconds: float) -> None:
        if self._timers.at(check) is None:  # do not postpone it: runs may start every second
            self._timers.set(check, seconds, check)

    def _is_unconfirmed(self, watched: "_WatchedRun") -> bool:
        seconds = watched.note_answer()
        confirmation = min(max(seconds / 2, MIN_CONFIRMATION), MAX_CONFIRMATION)
        return watched.age < seconds + confirmation and watched.descendants.count_workers() > 1

    def _check_probation(self) -> None:
        for watched in [each for each in self._on_probation if not each.is_on_probation()]:
            self._on_probation.remove(watched)
            watched.end_probation()
        for watched in self._on_probation:
            if (death := watched.find_death()) is not None:
                self._on_death(watched.run, death.pid, death.status)
        if self._on_probation:
            self._schedule(self._check_probation, PROBATION_INTERVAL)

    def _check_oom_kills(self) -> None:
        self._schedule(self._check_oom_kills, OOM_INTERVAL)
        for group in self._groups.values():
            group.forget_ended()
            for run, victim in group.find_victims():
                self._on_oom_kill(run, victim)


@dataclass
class _WatchedGroup:
    """A control group, and the runs in it."""

    counter: OomKillCounter
    attributed: int = 0  # the number of kills whose victim is known
    runs: list["_WatchedRun"] = field(default_factory=list)
    unattributed_since: float | None = None  # when the first of the other kills was counted

    def forget_ended(self) -> None:
        # Their failure reports mention the kills.
        for watched in [each for each in self.runs if not each.run.is_running]:
            self.attributed = self.counter.refresh()
            watched.descendants.close()
            self.runs.remove(watched)

    def find_victims(self) -> list[tuple[Run, Victim]]:
        if not self.runs:
            self.attributed = self.counter.refresh()
            return []
        for watched in self.runs:
            watched.walk_if_due()
        kills = self.counter.refresh() - self.attributed
        found = self._candidates()[:kills] if kills else []
        if self._is_overdue(kills - len(found)):
            found += [(self.runs[0].run, Victim())] * (kills - len(found))
        for watched in self.runs:
            watched.forget_exited()
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
class _WatchedRun:
    """A run, and what its walks have found, for both questions."""

    run: Run
    descendants: Descendants
    has_counter: bool  # of OOM kills
    deaths: WorkerDeaths | None = None  # None: it is not on probation
    _startup_seconds: float | None = None  # until the first good answer
    _walk_at: float = 0.0
    _killed: list[Descendant] = field(default_factory=list)  # possibly, since the last check
    _exited: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_EXITED))

    @property
    def age(self) -> float:
        return self.descendants.clock() - self.run.started

    def walk_if_due(self) -> None:
        if self.descendants.clock() >= self._walk_at:
            self._walk()

    def _walk(self) -> None:
        started = self.descendants.clock()
        new_workers, exited = self.descendants.refresh()
        self._walk_at = started + (self.descendants.clock() - started) / WALK_CPU_SHARE
        if self.deaths is not None:
            self.deaths.note(new_workers, exited)
        self._exited += [process.pid for process in exited]
        self._killed += [process for process in exited if _may_be_killed(process.status)]

    # --- did a worker die while the server was starting?

    def note_answer(self) -> float:
        """Note a good answer; return the seconds from the start to the first one."""
        if self._startup_seconds is None:
            self._startup_seconds = self.age
        return self._startup_seconds

    def is_on_probation(self) -> bool:
        if not (self.run.ready and self.run.is_running):
            return self.run.is_starting
        seconds = self.note_answer()
        return self.age < seconds + max(3 * seconds, MIN_PROBATION)

    def end_probation(self) -> None:
        self.deaths = None
        if not self.has_counter:
            self.descendants.close()

    def find_death(self) -> Death | None:
        """Return the last death of a worker, if those that were found make the run a failure."""
        self._walk()
        deaths = self.deaths.check(self.run.stderr_tail.text()) if self.deaths else []
        if not self.run.ready:
            return deaths[-1] if deaths else None
        early = [death for death in deaths if death.lifetime < 1.5 * self.note_answer() + 1.0]
        return early[-1] if len(early) >= DEATHS_ON_PROBATION else None

    # --- was one OOM-killed?

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
