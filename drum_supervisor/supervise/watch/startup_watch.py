"""Foreign servers that are new: their own workers are watched, a first good answer is put to the proof."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.service.seen import Seen
from drum_supervisor.supervise.watch.descendants import Descendants
from drum_supervisor.supervise.watch.worker_deaths import Death, WorkerDeaths, logged_deaths

LOOK_AGAIN_AFTER = 0.1
SHORTEST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds
SHORTEST_PROBATION = 30.0
DEATHS_ON_PROBATION = 2


@dataclass
class _WatchedRun:
    """A run, what it started, and after how many seconds it answered first."""

    seen: Seen
    worker_deaths: WorkerDeaths
    took: float | None = None


class StartupWatch:
    """Watches over runs from their start until some time after they are ready.

    Before a run is ready, one death of a worker of its own is enough. Afterwards workers may die of other things: then
    it takes two, each within the time that a worker takes to begin. It is watched for half a minute then, or three
    times as long as its start took.

    Args:
        on_death: what to do about a run whose own worker died; it may start its workers again for ever.
    """

    def __init__(self, timers: Timers, on_death: Callable[[Seen, Death], None]) -> None:
        self._timers = timers
        self._on_death = on_death
        self._runs: list[_WatchedRun] = []

    def add(self, seen: Seen) -> None:
        """Watch over a run that was just started."""
        self._runs.append(_WatchedRun(seen, WorkerDeaths(Descendants(seen.run.pid, self._timers.clock))))
        self._timers.set(self, LOOK_AGAIN_AFTER, self._look)

    def is_any_on_probation(self) -> bool:
        """Return whether a good answer is not enough yet, because a server has several workers of its own.

        Nobody can tell which of them answers. They began together, so that the others are given half as long again
        as the first one took; meanwhile all that answers must be good, and none may die.
        """
        tried = [self._is_on_probation(each) for each in self._runs if each.seen.is_starting]
        return any(tried)

    def worker_lost_by(self, seen: Seen) -> Death | None:
        """Return the worker for which a run has ended that was new: it ended with the same status just before.

        A run that is killed does not end for its worker's sake, whatever its worker was killed by.
        """
        status = seen.run.status
        if status is None or not os.WIFEXITED(status) or not any(each.seen is seen for each in self._runs):
            return None
        deaths = [death for death in logged_deaths(seen.run.stderr_tail.text()) if death.status == status]
        return deaths[-1] if deaths else None

    def _is_on_probation(self, watched: _WatchedRun) -> bool:
        age = self._timers.clock() - watched.seen.run.started
        if watched.took is None:
            watched.took = age
        trial = min(max(watched.took / 2, SHORTEST_WAIT), LONGEST_WAIT)
        return age < watched.took + trial and watched.worker_deaths.count() > 1

    def _look(self) -> None:
        for watched in list(self._runs):
            if self._is_watched(watched):
                self._look_at(watched)
            else:
                watched.worker_deaths.close()
                self._runs.remove(watched)
        if self._runs:
            self._timers.set(self, LOOK_AGAIN_AFTER, self._look)

    def _is_watched(self, watched: _WatchedRun) -> bool:
        seen = watched.seen
        if not seen.ready:
            return seen.is_starting
        took = watched.took = watched.took or self._timers.clock() - seen.run.started
        probation = max(3 * took, SHORTEST_PROBATION)
        return seen.is_running and self._timers.clock() - seen.run.started < took + probation

    def _look_at(self, watched: _WatchedRun) -> None:
        deaths = watched.worker_deaths.look(watched.seen.run.stderr_tail.text())
        if watched.seen.ready:
            boot = 1.5 * (watched.took or 0.0) + 1.0
            deaths = [death for death in deaths if death.seconds < boot]
        if len(deaths) >= (DEATHS_ON_PROBATION if watched.seen.ready else 1):
            self._on_death(watched.seen, deaths[-1])
