"""What the policy wants to be reminded of: its plans become timers, and what rings becomes an event."""

import random
from collections.abc import Callable

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.events import Event

JITTER = 0.1


class Alarms:
    """The alarms of one policy.

    The deadline is that of a start: it is put off while there is nothing yet that could be ready, because a predecessor
    takes its time to stop.

    Args:
        workers: how many there are; each may have an alarm of its own.
        seconds_to_wait: for predecessors that still stop.
        too_slow: makes the report for the deadline.
        post: takes the events.
    """

    def __init__(
        self,
        timers: Timers,
        log: Log,
        workers: int,
        seconds_to_wait: Callable[[], float],
        too_slow: Callable[[], FailureReport],
        post: Callable[[Event], None],
    ) -> None:
        self._timers = timers
        self._log = log
        self._workers = workers
        self._seconds_to_wait = seconds_to_wait
        self._too_slow = too_slow
        self._post = post

    def plan(self, alarm: Alarm, after: float, worker: int = 0) -> None:
        """Retries of many containers must not come at the same moment: a tenth more or less."""
        if alarm is Alarm.RETRY:
            after *= random.uniform(1 - JITTER, 1 + JITTER)
            self._log.information(f"next attempt in {after:.1f} s")
        self._timers.set((alarm, worker), after, lambda: self._ring(alarm, worker))

    def cancel(self, alarm: Alarm) -> None:
        for worker in range(self._workers + 1):
            self._timers.cancel((alarm, worker))

    def at(self, alarm: Alarm) -> float | None:
        """Return when an alarm rings, None when it is not planned."""
        return self._timers.at((alarm, 0))

    def _ring(self, alarm: Alarm, worker: int) -> None:
        put_off = self._seconds_to_wait() if alarm is Alarm.DEADLINE else 0.0
        if put_off:
            self.plan(alarm, put_off, worker)
        else:
            self._post(self._rung(alarm, worker))

    def _rung(self, alarm: Alarm, worker: int) -> Event:
        now = self._timers.clock()
        if alarm is Alarm.RETRY:
            return events.RetryDue(now)
        if alarm is Alarm.WORKER:
            return events.WorkerRestartDue(now, worker)
        if alarm is Alarm.ERROR_SERVER:
            return events.ErrorServerRestartDue(now)
        if alarm is Alarm.STAND_IN:
            return events.StandInRestartDue(now)
        if alarm is Alarm.END:
            return events.ErrorServerTtlExpired(now)
        return events.StartupTimedOut(now, self._too_slow())
