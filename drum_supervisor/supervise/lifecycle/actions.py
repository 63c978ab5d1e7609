"""Carries out the actions of the policy: starts and stops, failure reports, alarms. Decides nothing."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from drum_supervisor.contract.failure_report import FailureReport, write_failure
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.policy import actions, events
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN
from drum_supervisor.supervise.service.context import Context

JITTER = 0.1
LAST_OUTPUT_SECONDS = 0.2  # for clients that follow the output to fetch its end


class ActionRunner:
    def __init__(
        self, context: Context, engine: Engine, launcher: Launcher, alarms: "Alarms", failure_file: Path
    ) -> None:
        self._context = context
        self._engine = engine
        self._launcher = launcher
        self._alarms = alarms
        self._failure_file = failure_file

    def carry_out(self, action: actions.Action) -> None:
        """Carry out an action; the state is already that after the decision."""
        programs, launcher = self._context.programs, self._launcher
        match action:
            case actions.StartWorker(worker):
                launcher.start(programs.all_workers[worker - 1], self._context.service.state.attempt)
            case actions.StopWorker(worker):
                launcher.stop(programs.all_workers[worker - 1].name)
            case actions.StartErrorServer(plain):
                launcher.start(programs.plain_error_server if plain else programs.error_server)
            case actions.StopErrorServer():
                launcher.stop(ERROR_SERVER)
            case actions.StartStandIn():
                launcher.start(programs.stand_in)
            case actions.StopStandIn():
                launcher.stop(STAND_IN)
            case actions.SaveReport(report):
                self._save(report)
            case actions.SetAlarm(alarm, after, worker):
                self._alarms.set(alarm, after, worker)
            case actions.CancelAlarm(alarm):
                self._alarms.cancel(alarm)
            case actions.StopAll():
                launcher.stop_all()
            case actions.KillAll():
                launcher.kill_all()
            case actions.Exit():
                self._end()

    def set_startup_deadline(self) -> None:
        """Restart the start-up deadline: a worker was started."""
        self._alarms.set(Alarm.DEADLINE, self._context.service.limits.startup_timeout)

    def _save(self, report: FailureReport) -> None:
        service, log = self._context.service, self._context.log
        where = f" in {report.stage}" if report.stage else ""
        log.line("error", f"the model server failed{where}: {report.error}", cause=report.cause.value)
        if service.is_retry_refused and service.limits.max_retries:
            log.warning("not retried: it would only fail again; repair it, then run: drum-supervise restart")
        try:
            write_failure(report, self._failure_file)
        except OSError as error:
            log.line("error", f"could not write the failure report: {error}")

    def _end(self) -> None:
        # Clients that follow the output get some time to fetch its end.
        ready_at = self._context.waiters.output_ready_at
        if ready_at is None or self._context.now() - ready_at > LAST_OUTPUT_SECONDS:
            self._engine.end()
        else:
            self._context.waiters.answer_soon()


class Alarms:
    """The alarms of the policy, each of which is a timer first, and then an event.

    The start-up deadline is postponed while no worker runs because its predecessor is still stopping.
    """

    def __init__(self, context: Context, launcher: Launcher, make_timeout_report: Callable[[], FailureReport]) -> None:
        self._context = context
        self._launcher = launcher
        self._make_timeout_report = make_timeout_report

    def set(self, alarm: Alarm, after: float, worker: int = 0) -> None:
        """Set an alarm; retries vary by a tenth, so that containers do not retry in step."""
        if alarm is Alarm.RETRY:
            after *= random.uniform(1 - JITTER, 1 + JITTER)
            self._context.log.information(f"next attempt in {after:.1f} s")
        self._context.timers.set((alarm, worker), after, partial(self._ring, alarm, worker))

    def cancel(self, alarm: Alarm) -> None:
        """Cancel an alarm for all workers."""
        for worker in range(len(self._context.programs.all_workers) + 1):
            self._context.timers.cancel((alarm, worker))

    def _ring(self, alarm: Alarm, worker: int) -> None:
        postponed = self._launcher.seconds_to_wait() if alarm is Alarm.DEADLINE else 0.0
        if postponed:
            self.set(alarm, postponed, worker)
        else:
            self._context.queue.put(self._event(alarm, worker))

    def _event(self, alarm: Alarm, worker: int) -> events.Event:
        now = self._context.now()
        match alarm:
            case Alarm.RETRY:
                return events.RetryDue(now)
            case Alarm.WORKER:
                return events.WorkerRestartDue(now, worker)
            case Alarm.ERROR_SERVER:
                return events.ErrorServerRestartDue(now)
            case Alarm.STAND_IN:
                return events.StandInRestartDue(now)
            case Alarm.TTL:
                return events.ErrorServerTtlExpired(now)
            case Alarm.DEADLINE:
                return events.StartupTimedOut(now, self._make_timeout_report())
