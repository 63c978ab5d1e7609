"""Watches the workers of a third-party server during start-up and a probation period."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.watch.descendants import Descendants
from drum_supervisor.supervise.watch.worker_deaths import Death, WorkerDeaths, parse_logged_deaths

CHECK_INTERVAL = 0.1  # seconds, as all below
MIN_CONFIRMATION, MAX_CONFIRMATION = 0.5, 10.0
MIN_PROBATION = 30.0
DEATHS_ON_PROBATION = 2


@dataclass
class _WatchedRun:
    run: Run
    worker_deaths: WorkerDeaths
    startup_seconds: float | None = None  # until the first good answer


class StartupWatch:
    """Watches runs from their start until the end of their probation.

    Before a run is ready, one death of a worker is enough. Later, workers may die for other reasons: it takes two
    deaths then, each within the time that a worker needs to boot. Probation lasts 30 seconds, or three times the
    start-up time if that is longer.

    Args:
        on_death: called when a run has failed because of its workers, which its master may restart for ever.
    """

    def __init__(self, timers: Timers, on_death: Callable[[Run, Death], None]) -> None:
        self._timers = timers
        self._on_death = on_death
        self._runs: list[_WatchedRun] = []

    def add(self, run: Run) -> None:
        self._runs.append(_WatchedRun(run, WorkerDeaths(Descendants(run.pid, self._timers.clock))))
        self._timers.set(self, CHECK_INTERVAL, self._check_all)

    def needs_confirmation(self) -> bool:
        """Return whether one good answer does not yet mean ready, because a server has several workers."""
        # It is unknown which of them answered. They started together, so the others get half as much time again as the
        # first one needed; until then every answer must be good, and no worker may die.
        unconfirmed = [self._is_unconfirmed(each) for each in self._runs if each.run.is_starting]
        return any(unconfirmed)  # a list, not a generator: each run must note its first answer

    def find_fatal_death(self, run: Run) -> Death | None:
        """Return the worker whose death ended a run during probation: the one that it logged with the same status."""
        # A run that was killed by a signal did not exit because of a worker, whatever killed that.
        status = run.status
        if status is None or not os.WIFEXITED(status) or not any(each.run is run for each in self._runs):
            return None
        deaths = [death for death in parse_logged_deaths(run.stderr_tail.text()) if death.status == status]
        return deaths[-1] if deaths else None

    def _is_unconfirmed(self, watched: _WatchedRun) -> bool:
        age = self._timers.clock() - watched.run.started
        if watched.startup_seconds is None:
            watched.startup_seconds = age
        confirmation = min(max(watched.startup_seconds / 2, MIN_CONFIRMATION), MAX_CONFIRMATION)
        return age < watched.startup_seconds + confirmation and watched.worker_deaths.count_workers() > 1

    def _check_all(self) -> None:
        for watched in list(self._runs):
            if self._is_watched(watched):
                self._check(watched)
            else:
                watched.worker_deaths.close()
                self._runs.remove(watched)
        if self._runs:
            self._timers.set(self, CHECK_INTERVAL, self._check_all)

    def _is_watched(self, watched: _WatchedRun) -> bool:
        run = watched.run
        if not run.ready:
            return run.is_starting
        age = self._timers.clock() - run.started
        startup_seconds = watched.startup_seconds = watched.startup_seconds or age
        probation = max(3 * startup_seconds, MIN_PROBATION)
        return run.is_running and age < startup_seconds + probation

    def _check(self, watched: _WatchedRun) -> None:
        deaths = watched.worker_deaths.refresh(watched.run.stderr_tail.text())
        if watched.run.ready:
            boot_seconds = 1.5 * (watched.startup_seconds or 0.0) + 1.0
            deaths = [death for death in deaths if death.lifetime < boot_seconds]
        if len(deaths) >= (DEATHS_ON_PROBATION if watched.run.ready else 1):
            self._on_death(watched.run, deaths[-1])
