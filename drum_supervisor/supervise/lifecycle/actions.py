"""What the policy wants is carried out here: programs start and stop, reports are kept, alarms set. Decides nothing."""

from drum_supervisor.contract.failure_report import FailureReport, write_failure
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.alarms import Alarms
from drum_supervisor.supervise.lifecycle.waiters import Waiters
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy import actions
from drum_supervisor.supervise.policy.state import Limits, State, is_refused
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Programs

LAST_CHANCE = 0.2  # for those who wait for output when it comes to its end


class ActionRunner:
    """Carries out the actions of one policy."""

    def __init__(
        self,
        programs: Programs,
        limits: Limits,
        engine: Engine,
        fleet: Launcher,
        alarms: Alarms,
        changes: Waiters,
        timers: Timers,
        run_dir: RunDir,
        log: Log,
    ) -> None:
        self._programs = programs
        self._limits = limits
        self._engine = engine
        self._fleet = fleet
        self._alarms = alarms
        self._changes = changes
        self._timers = timers
        self._run_dir = run_dir
        self._log = log

    def carry_out(self, action: actions.Action, state: State) -> None:
        """Do what was decided; `state` is that after the decision."""
        match action:
            case actions.StartWorker(worker):
                self._fleet.start(self._programs.sides[worker - 1], state.attempt)
            case actions.StopWorker(worker):
                self._fleet.stop(self._programs.sides[worker - 1].name)
            case actions.StartErrorServer(plain):
                self._fleet.start(self._programs.plain_error_server if plain else self._programs.error_server)
            case actions.StopErrorServer():
                self._fleet.stop(ERROR_SERVER)
            case actions.StartStandIn():
                self._fleet.start(self._programs.stand_in)
            case actions.StopStandIn():
                self._fleet.stop(STAND_IN)
            case actions.SaveReport(report):
                self._keep(report, state)
            case actions.Plan(alarm, after, worker):
                self._alarms.plan(alarm, after, worker)
            case actions.Cancel(alarm):
                self._alarms.cancel(alarm)
            case actions.StopAll():
                self._fleet.stop_all()
            case actions.KillAll():
                self._fleet.kill_all()
            case actions.Exit():
                self._end()

    def _keep(self, report: FailureReport, state: State) -> None:
        where = f" in {report.stage}" if report.stage else ""
        self._log.line("error", f"the model server failed{where}: {report.error}", cause=report.cause.value)
        if is_refused(state, self._limits) and self._limits.max_retries:
            self._log.warning("not retried: it would only fail again; repair it, then try: drum-supervise restart")
        try:
            write_failure(report, self._run_dir.failure)
        except OSError as error:
            self._log.line("error", f"the failure report could not be written: {error}")

    def _end(self) -> None:
        """End, but let who follows the output have its end first; the next turn asks again."""
        awaited = self._changes.output_awaited_at
        if awaited is None or self._timers.clock() - awaited > LAST_CHANCE:
            self._engine.end()
        else:
            self._changes.tell_soon()
