"""The owner of the engine: what it tells becomes events, the policy decides at the end of each turn."""

import signal
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from drum_supervisor.contract.exits import signal_name
from drum_supervisor.contract.report_pipe import BadReportError, decode
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.lifecycle.actions import ActionRunner
from drum_supervisor.supervise.lifecycle.alarms import Alarms
from drum_supervisor.supervise.lifecycle.health_checks import HealthChecks
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.lifecycle.status_file import StatusFile, situation
from drum_supervisor.supervise.lifecycle.waiters import Waiters
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy import counters, events, table
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.events import Event, Phase, RestartCause
from drum_supervisor.supervise.policy.state import Limits, State, sides_of
from drum_supervisor.supervise.processes.launcher import Launcher, Seen
from drum_supervisor.supervise.programs.program import Programs, shown_name

if TYPE_CHECKING:
    from drum_supervisor.supervise.stats.sampler import Sampler


class Loop:
    """Keeps the policy's state, and the events that are still to be decided on. All of it runs in the engine's thread.

    Args:
        limits: what the policy knows of the settings.
        board: where clients are told of the state.

    Attributes:
        since: when the phase began, in seconds since the epoch.
        on_change: called at the end of a turn in which something has changed.
    """

    engine: Engine
    fleet: Launcher
    changes: Waiters
    alarms: Alarms
    witness: ProcessEvents

    def __init__(self, programs: Programs, limits: Limits, timers: Timers, board: StatusFile, log: Log) -> None:
        self.programs = programs
        self.limits = limits
        self.timers = timers
        self._board = board
        self._log = log
        self.state = State()
        self.tally = counters.Counters()
        self.since = time.time()
        self._entered_at = timers.clock()
        self._events: deque[tuple[Event, Seen | None]] = deque()
        self.on_change: Callable[[], None] = lambda: None

    def attach(
        self,
        engine: Engine,
        fleet: Launcher,
        changes: Waiters,
        alarms: Alarms,
        witness: ProcessEvents,
        lookout: HealthChecks,
        executor: ActionRunner,
        sampler: "Callable[[], Sampler]",
    ) -> None:
        """Say what it works with, which could not be made before its owner; call this before the engine runs."""
        self.engine = engine
        self.fleet = fleet
        self.changes = changes
        self.alarms = alarms
        self.witness = witness
        self._lookout = lookout
        self._executor = executor
        self._sampler = sampler

    @property
    def sampler(self) -> "Sampler":
        """What samples the programs, made on its first use: no program waits for the import of its modules."""
        return self._sampler()

    # --- what the engine tells

    def on_begin(self) -> None:
        self.post(events.SupervisorStarted(self.timers.clock()))

    def on_signal(self, number: int) -> None:
        now = self.timers.clock()
        self._log.information(f"received {signal_name(number)}", signal=signal_name(number))
        if number == signal.SIGHUP:
            self.post(events.RestartRequested(now))
        elif number != signal.SIGUSR2:  # that reopens log files, which is not our concern
            self.post(events.StopRequested(now))

    def on_line(self, run: Run, line: bytes) -> None:
        seen = self.fleet.seen.get(run.program.name)
        if seen is None or seen.run is not run or run.stop_asked:
            return
        try:
            message = decode(line)
        except BadReportError as error:
            self._log.warning(f"{run.who} wrote to its report pipe what is no message: {error}", pid=run.pid)
        else:
            self.witness.said(seen, message)

    def on_exit(self, run: Run) -> None:
        self.fleet.exited(run)
        self.sampler.ended(run.program.name, run.pid, run.cpu_seconds)
        self.witness.ended(self.fleet.seen[run.program.name])
        self.changes.note()

    def on_turn(self) -> None:
        self.timers.ring()
        self._decide()
        if self.fleet.turn():
            self.changes.note()
        if self.state.phase is Phase.STOPPING and self.fleet.all_gone():
            self.post(events.AllStopped(self.timers.clock()))
        self._decide()
        if self.changes.are_told():
            self.on_change()

    def next_wakeup(self) -> float:
        return 0.0 if self._events else self.timers.seconds_left()

    # --- what the fleet tells

    def started(self, seen: Seen) -> None:
        """A program was started, or could not be."""
        self.changes.note()
        self.witness.started(seen)
        if seen.run.program.worker and not seen.run.spawn_error:
            self.alarms.plan(Alarm.DEADLINE, self.limits.startup_timeout)
            self._lookout.look_out()

    # --- what operators ask

    def restart(self, place: int | None, overlap: bool = False, cause: RestartCause = RestartCause.REQUEST) -> None:
        """Replace all workers, or the one in a place; `overlap`: the new one is ready before the old one stops."""
        self.post(events.RestartRequested(self.timers.clock(), place, overlap, cause))

    def stop(self) -> None:
        """End the supervisor gracefully."""
        self.post(events.StopRequested(self.timers.clock()))

    # --- events, and what the policy makes of them

    def post(self, event: Event, about: Seen | None = None) -> None:
        """Let the policy decide on `event` at the end of this turn, unless the run that it is about is then past."""
        self._events.append((event, about))
        self.engine.wakeup.wake()

    def is_posted(self, kind: type[Event], worker: int) -> bool:
        """Return whether such an event about this worker is still to be decided on."""
        return any(isinstance(event, kind) and getattr(event, "worker", None) == worker for event, _ in self._events)

    def _decide(self) -> None:
        while self._events:
            event, about = self._events.popleft()
            if about is None or not about.abandoned:
                self._decide_on(event, about)
        self._tell_clients()

    def _decide_on(self, event: Event, about: Seen | None) -> None:
        before = self.state
        self.state, actions = table.decide(before, event, self.limits)
        self.tally = counters.decided(self.tally, before.phase, self.state.phase, actions)
        if isinstance(event, events.WorkerReady) and about is not None:
            self.tally = counters.started(self.tally, about.run.program.place, event.at - about.run.started)
        if self.state is not before:
            self._moved_on(before)
        for action in actions:
            self._executor.carry_out(action, self.state)

    def _moved_on(self, before: State) -> None:
        """Let all know who have to do with the state."""
        if self.state.phase is not before.phase:
            self._entered()
        if self.state.moved != before.moved:
            self._name_workers()
        if self.state.restart_failure not in (None, before.restart_failure):
            self._log.warning(f"the workers are not replaced: {self.state.restart_failure.error}")
        self.changes.note()
        if not self.state.coming:
            self._lookout.look_no_more()

    def _entered(self) -> None:
        self.since, self._entered_at = time.time(), self.timers.clock()
        self._lookout.check_liveness(self.state.phase is Phase.SERVING)
        self._log.line("debug", f"phase is now {self.state.phase.value}", phase=self.state.phase.value)

    def _name_workers(self) -> None:
        """Let people find the worker that serves under the same name, whichever side it is."""
        serving = sides_of(self.state, self.limits)
        self.engine.rename({each.name: shown_name(each, each.worker in serving) for each in self.programs.sides})

    def _tell_clients(self) -> None:
        """A supervisor that stops leaves it as it was."""
        if self.state.phase is not Phase.STOPPING:
            next_at = self.alarms.at(Alarm.RETRY) or 0.0
            self._board.show(situation(self.state, self.limits, self.witness.stage, self._entered_at, next_at))
