"""Kills for want of memory below servers that go on: a master starts another worker, and nobody else is told.

The kernel only counts. Who it was is seen by who is gone: when the counter has risen, those that were killed, or of
whom nobody knows how they ended, count as the victims.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drum_supervisor.resources.oom import KillCounter
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.service.seen import Seen
from drum_supervisor.supervise.watch.descendants import Descendants, Process
from drum_supervisor.supervise.watch.worker_deaths import logged_deaths

LOOK_EVERY = 1.0
LOG_LINE_AFTER = 0.5  # a master reaps and writes; less than until the next look
PATIENCE = 5.0  # the kernel counts first; what has much memory takes a while to be gone
WALKING = 0.0001  # of a processor, for walks through trees: the more threads there are, the longer each takes
MOST_EXITED = 500


@dataclass(frozen=True)
class Victim:
    """Whom the kernel killed.

    Attributes:
        pid: None when nobody below the program was seen to go; then it may have been a neighbour.
        serves: whether it was a worker of a server that has its own.
        is_sure: whether it is known to have been killed.
    """

    pid: int | None = None
    serves: bool = False
    is_sure: bool = False

    def of(self, program: str) -> str:
        """Say who it was: `worker 4243 of model-server (pid 4240)`."""
        if self.pid is None:
            return f"a process in the control group of {program}"
        return f"worker {self.pid} of {program}" if self.serves else f"process {self.pid} below {program}"


class OomWatch:
    """Watches over runs as long as they are there, and over the counters of their control groups for good.

    Args:
        on_kill: what to do about a victim below a run.
        make_descendants: how processes are looked at.
    """

    def __init__(
        self,
        timers: Timers,
        on_kill: Callable[[Seen, Victim], None],
        make_descendants: Callable[[int, Callable[[], float]], Descendants] = Descendants,
    ) -> None:
        self._timers = timers
        self._on_kill = on_kill
        self._make_descendants = make_descendants
        self._groups: dict[KillCounter, _CgroupWatch] = {}

    def add(self, seen: Seen) -> None:
        """Watch over a run that was just started; in vain where the kernel tells nothing."""
        if seen.memory is None or not seen.memory.counter.is_told:
            return
        counter = seen.memory.counter
        group = self._groups.setdefault(counter, _CgroupWatch(counter))
        group.runs.append(_RunWatch(seen, self._make_descendants(seen.run.pid, self._timers.clock)))
        if self._timers.at(self) is None:  # else there would be no look where runs are started every second
            self._timers.set(self, LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timers.set(self, LOOK_EVERY, self._look)
        for group in self._groups.values():
            group.forget_ended()
            for seen, victim in group.victims():
                self._on_kill(seen, victim)


@dataclass
class _CgroupWatch:
    """The runs in one control group.

    Attributes:
        attributed: how many kills are attributed to a process.
        puzzled_since: when the first of the others was counted.
    """

    counter: KillCounter
    attributed: int = 0
    runs: list["_RunWatch"] = field(default_factory=list)
    puzzled_since: float | None = None

    def forget_ended(self) -> None:
        """Forget the runs that have ended, or have failed: their reports say what there is to say."""
        for run in [each for each in self.runs if not each.seen.is_running]:
            self.attributed = self.counter.look()
            run.below.close()
            self.runs.remove(run)

    def victims(self) -> list[tuple[Seen, Victim]]:
        """Return who was killed since the last look, and below which run."""
        if not self.runs:
            self.attributed = self.counter.look()
            return []
        for run in self.runs:
            run.walk_if_due()
        kills = self.counter.look() - self.attributed
        found = self._suspects()[:kills] if kills else []
        if self._is_puzzled(kills - len(found)):
            found += [(self.runs[0].seen, Victim())] * (kills - len(found))
        for run in self.runs:
            run.forget()
        self.attributed += len(found)
        return found

    def _suspects(self) -> list[tuple[Seen, Victim]]:
        suspects = [(each.seen, victim) for each in self.runs for victim in each.suspects()]
        return sorted(suspects, key=lambda one: (not one[1].is_sure, not one[1].serves))

    def _is_puzzled(self, kills: int) -> bool:
        """Whether kills are left of which nobody will know any more whom they hit."""
        now = self.counter.clock()
        self.puzzled_since = None if not kills else now if self.puzzled_since is None else self.puzzled_since
        return self.puzzled_since is not None and now - self.puzzled_since >= PATIENCE


@dataclass
class _RunWatch:
    """A run, and what it started."""

    seen: Seen
    below: Descendants
    _walk_at: float = 0.0
    _gone: list[Process] = field(default_factory=list)
    _exited: deque[int] = field(default_factory=lambda: deque(maxlen=MOST_EXITED))

    def walk_if_due(self) -> None:
        """Look who is there, so often that it costs little."""
        if self.below.clock() >= self._walk_at:
            self._walk()

    def suspects(self) -> Iterator[Victim]:
        """Yield who may have been killed since the last look."""
        self._walk()
        deaths = logged_deaths(self.seen.run.stderr_tail.text())
        told = {death.pid: death.status == signal.SIGKILL for death in deaths if _may_be_killed(death.status)}
        for process in self._gone:
            if process.pid not in told and self._may_be_told(process):
                continue
            is_sure = process.status is not None or told.get(process.pid, False)
            yield Victim(process.pid, process.pid in told or self._serves(process), is_sure)
        for pid in told.keys() - self._exited - self.below.here.keys():  # so soon gone that it was never seen
            self._exited.append(pid)
            yield Victim(pid, serves=True, is_sure=told[pid])

    def forget(self) -> None:
        """Who is gone by now has died of something else than what comes; of some is not known yet what they were."""
        self._gone = [process for process in self._gone if self._may_be_told(process)]

    def _walk(self) -> None:
        begun = self.below.clock()
        _, gone = self.below.look()
        self._walk_at = begun + (self.below.clock() - begun) / WALKING
        self._exited += [process.pid for process in gone]
        self._gone += [process for process in gone if _may_be_killed(process.status)]

    def _may_be_told(self, process: Process) -> bool:
        """Whether it was never seen closely, and has been gone for so short a time that its master may still speak."""
        return process.sightings == 0 and self.below.clock() - process.since - process.seconds < LOG_LINE_AFTER

    def _serves(self, process: Process) -> bool:
        """Whether it was a worker of the server, and not what a worker has forked for itself."""
        parent = self.below.here.get(process.parent)
        return process.sightings > 0 and process.is_like_parent and not (parent and parent.is_like_parent)


def _may_be_killed(status: int | None) -> bool:
    return status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
