"""Between policy and engine: turns what happens into events, asks the policy, carries its actions out."""

import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from drum_supervisor.contract.exits import signal_name
from drum_supervisor.contract.failure import FailureReport, write_failure
from drum_supervisor.contract.report import BadReportError, InitFailed, Ready, Spent, Stage, decode
from drum_supervisor.supervise import failures, history, policy, tally
from drum_supervisor.supervise.alarms import Alarms
from drum_supervisor.supervise.engine import Engine
from drum_supervisor.supervise.fleet import Fleet, Seen
from drum_supervisor.supervise.history import Alarm, Event, Phase, RestartCause
from drum_supervisor.supervise.log import Log
from drum_supervisor.supervise.memory_kills import MemoryKills, Victim
from drum_supervisor.supervise.newcomers import Newcomers
from drum_supervisor.supervise.offspring import Death
from drum_supervisor.supervise.programs import ERROR_SERVER, STAND_IN, Programs, Readiness, shown_name
from drum_supervisor.supervise.readiness import Watcher
from drum_supervisor.supervise.run_dir import RunDir
from drum_supervisor.supervise.running import Run
from drum_supervisor.supervise.situations import Board, situation
from drum_supervisor.supervise.state import Limits, State, is_refused, sides_of
from drum_supervisor.supervise.timers import Timers

if TYPE_CHECKING:
    from drum_supervisor.supervise.sampler import Sampler

FIRST_SAMPLE_AFTER = 0.02  # by then a program is past its exec
LAST_CHANCE = 0.2  # for those who wait for output when it comes to its end
TELL_AFTER = 0.01  # supervisord looks again at who waits for a change on the control socket (`wait`) after 5 ms


class Loop:
    """The owner of the engine. All of it runs in the engine's thread.

    Args:
        limits: what the policy knows of the settings.
        watch: starts to look out for readiness, given what to do when it is there, about a stage, and about a
            failure; returns None where programs report it.
        check: starts to ask whether who is ready still answers, given what to do when nobody does; returns None where
            nobody wants to know.
    """

    engine: Engine
    fleet: Fleet

    def __init__(
        self,
        programs: Programs,
        limits: Limits,
        run_dir: RunDir,
        log: Log,
        timers: Timers,
        watch: Callable[[Callable[[], None], Callable[[str], None], Callable[[str], None]], Watcher | None],
        check: Callable[[Callable[[str], None]], Watcher | None],
    ) -> None:
        self.programs = programs
        self.limits = limits
        self.state = State()
        self.tally = tally.Tally()
        self.since = time.time()
        self._entered_at = timers.clock()
        self.stage = ""
        self.serial = 0
        self.output_awaited_at: float | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.on_spent: Callable[[int], None] = self.restart
        self._told = 0
        self.timers = timers
        waits = self._seconds_to_wait
        self.alarms = Alarms(timers, log, len(programs.sides), waits, self._too_slow, self.post)
        self._run_dir = run_dir
        self._board = Board(run_dir, log)
        self._log = log
        self._watch = watch
        self._watcher: Watcher | None = None
        self._check = check
        self._checker: Watcher | None = None
        self._newcomers = Newcomers(timers, self._worker_died)
        self._memory_kills = MemoryKills(timers, self._killed_below)
        self._events: deque[tuple[Event, Seen | None]] = deque()

    def attach(self, engine: Engine, fleet: Fleet, make_sampler: "Callable[[], Sampler]") -> None:
        """Say what it works with; call this before the engine runs."""
        self.engine = engine
        self.fleet = fleet
        self._make_sampler = make_sampler

    @cached_property
    def sampler(self) -> "Sampler":
        """What samples the programs, made on its first use: no program waits for the import of its modules."""
        return self._make_sampler()

    # --- what the engine tells

    def on_begin(self) -> None:
        self.post(history.Begun(self.timers.clock()))

    def on_signal(self, number: int) -> None:
        now = self.timers.clock()
        self._log.information(f"received {signal_name(number)}", signal=signal_name(number))
        if number == signal.SIGHUP:
            self.post(history.RestartRequested(now))
        elif number != signal.SIGUSR2:  # that reopens log files, which is not our concern
            self.post(history.StopRequested(now))

    def on_line(self, run: Run, line: bytes) -> None:
        seen = self.fleet.seen.get(run.program.name)
        if seen is None or seen.run is not run or run.stop_asked:
            return
        try:
            message = decode(line)
        except BadReportError as error:
            self._log.warning(f"{_who(run)} wrote to its report pipe what is no message: {error}", pid=run.pid)
            return
        match message:
            case Ready():
                self._is_ready(seen)
            case Stage(name):
                self._reached(seen, name)
            case Spent() if seen.ready and run.program.worker:
                self._log.information(f"{_who(run)} has answered enough requests, and is replaced", pid=run.pid)
                self.on_spent(run.program.place)
            case InitFailed() if run.program.worker:
                self._has_failed(seen, failures.said(self._evidence(seen), message))

    def on_exit(self, run: Run) -> None:
        self.fleet.exited(run)
        self.sampler.ended(run.program.name, run.pid, run.cpu_seconds)
        seen = self.fleet.seen[run.program.name]
        if run.stop_asked:
            self._log.information(f"{_who(run)} stopped as asked: {failures.ending(run.status)}", pid=run.pid)
            self.post(history.Gone(self.timers.clock(), run.program.worker))
        elif seen.settled:
            self._log.information(f"{_who(run)} {failures.ending(run.status)}", pid=run.pid)
        else:
            self._log.warning(f"{_who(run)} {failures.full_ending(self._evidence(seen))}", pid=run.pid)
            self._lost(seen)
        self.changed()

    def on_turn(self) -> None:
        self.timers.ring()
        self._decide()
        if self.fleet.turn():
            self.changed()
        if self.state.phase is Phase.STOPPING and self.fleet.all_gone():
            self.post(history.AllStopped(self.timers.clock()))
        self._decide()
        if self.serial != self._told:
            self._told = self.serial
            self.tell_soon()
            self.on_change()

    def output_awaited(self) -> None:
        """There is output that somebody waits for on the control socket."""
        self.output_awaited_at = self.timers.clock()
        self.tell_soon()

    def tell_soon(self) -> None:
        """Have supervisord look again at who waits on the control socket."""
        self.timers.set("tell", TELL_AFTER, self.engine.wakeup.wake)

    def next_wakeup(self) -> float:
        return 0.0 if self._events else self.timers.seconds_left()

    # --- what operators ask

    def restart(self, place: int | None, overlap: bool = False, cause: RestartCause = RestartCause.REQUEST) -> None:
        """Replace all workers, or the one in a place; `overlap`: the new one is ready before the old one stops."""
        self.post(history.RestartRequested(self.timers.clock(), place, overlap, cause))

    def stop(self) -> None:
        """End the supervisor gracefully."""
        self.post(history.StopRequested(self.timers.clock()))

    def post(self, event: Event, about: Seen | None = None) -> None:
        """Let the policy decide on `event` at the end of this turn, unless the run that it is about is then past."""
        self._events.append((event, about))
        self.engine.wakeup.wake()

    def is_posted(self, kind: type[Event], worker: int) -> bool:
        """Return whether such an event about this worker is still to be decided on."""
        return any(isinstance(event, kind) and getattr(event, "worker", None) == worker for event, _ in self._events)

    def changed(self) -> None:
        """Note that `status` would say something new."""
        self.serial += 1

    # --- what programs do

    def started(self, seen: Seen) -> None:
        """A program was started, or could not be."""
        run = seen.run
        self.changed()
        if run.spawn_error:
            self._log.line("error", f"{run.program.name} could not be started: {run.spawn_error}")
            self._lost(seen)
            return
        self._log.information(f"{_who(run)} started", program=run.program.name, pid=run.pid)
        self.timers.set("sample", FIRST_SAMPLE_AFTER, self._sample_new)
        if run.program.worker:
            self.stage = ""
            self.alarms.plan(Alarm.DEADLINE, self.limits.startup_timeout)
            self._watcher = self._watcher or self._watch(self._answered, self._stage_told, self._failure_told)
            if not self.programs.built_in:
                self._newcomers.add(seen)
            self._memory_kills.add(seen)

    def _sample_new(self) -> None:
        self.sampler.began()

    def _lost(self, seen: Seen) -> None:
        """A run came to its end and nobody had asked for it."""
        now = self.timers.clock()
        if seen.run.program.worker and not seen.settled:
            death = self._newcomers.worker_lost_by(seen) if seen.ready else None
            if death is not None:
                self._worker_died(seen, death)
                return
            seen.settled = True
            report = failures.gone(self._evidence(seen))
            self.post(history.Exited(now, report, seen.run.program.worker), seen)
        elif seen.run.program.name == ERROR_SERVER:
            taken = seen.run.pid == 0  # the address: somebody else has it, which may pass
            plain = seen.run.program is self.programs.plain_error_server
            self.post(history.ErrorServerExited(now, seen.ready or taken, plain))
        elif seen.run.program.name == STAND_IN:
            self.post(history.StandInExited(now, seen.ready))

    def _is_ready(self, seen: Seen) -> None:
        if seen.ready or seen.settled:
            return
        seen.ready = True
        self.changed()
        run = seen.run
        took = self.timers.clock() - run.started
        hint = ", and answers with the reason; try again with: drum-supervise restart" * (
            run.program.name == ERROR_SERVER
        )
        self._log.information(f"{_who(run)} is ready after {took:.2f} s{hint}", program=run.program.name, pid=run.pid)
        if run.program.worker:
            self.tally = tally.started(self.tally, run.program.place, took)
            self.post(history.Ready(self.timers.clock(), run.program.worker), seen)
        elif run.program.name == ERROR_SERVER:
            self.post(history.ErrorServerReady(self.timers.clock()), seen)

    def _has_failed(self, seen: Seen, report: FailureReport) -> None:
        if not seen.settled:
            seen.settled = True
            if len(self.programs.workers) > 1:  # the policy may go on without it and keep no report
                self._log.warning(f"{_who(seen.run)} cannot be initialized: {report.error}", pid=seen.run.pid)
            self.post(history.InitFailed(self.timers.clock(), report, seen.run.program.worker), seen)

    def _reached(self, seen: Seen, stage: str) -> None:
        if seen.run.program.worker:
            seen.stage = self.stage = stage
            self._log.line("debug", f"{_who(seen.run)} has reached {stage}", pid=seen.run.pid)
            self.changed()

    def _worker_died(self, seen: Seen, death: Death) -> None:
        """A server that loses a worker of its own while it is new has failed."""
        report = failures.worker_gone(self._evidence(seen), death.pid, death.status)
        if not seen.ready:
            self._has_failed(seen, report)
        elif not seen.settled:
            seen.settled = True
            self.post(history.ReadyTooSoon(self.timers.clock(), report, seen.run.program.worker), seen)

    def _killed_below(self, seen: Seen, victim: Victim) -> None:
        """The kernel has killed below a run that goes on: what serves counts as a crash, a helper of the model not."""
        report = failures.killed_below(self._evidence(seen), victim.pid)
        self._log.warning(f"{victim.of(_who(seen.run))} is gone, {report.error}", pid=victim.pid)
        self.changed()
        if victim.serves and seen.ready and self.programs.have_own_workers:
            self.post(history.WorkerKilled(self.timers.clock(), report, seen.run.program.worker), seen)

    def _answered(self) -> None:
        """The address answers as a server does that is ready."""
        if self.programs.readiness is not Readiness.HTTP or not self._newcomers.on_trial():
            self._all_ready()

    def _failure_told(self, message: str) -> None:
        """The address answers that initialization failed; with several workers nobody can tell which one answered."""
        self._close_watcher()
        for seen in self._coming_workers():
            self._has_failed(seen, failures.answered(self._evidence(seen), message))

    def _coming_workers(self) -> list[Seen]:
        return [seen for seen in self._seen_workers() if seen.is_coming]

    def _seen_workers(self) -> list[Seen]:
        return [seen for program in self.programs.sides if (seen := self.fleet.seen.get(program.name))]

    def _all_ready(self) -> None:
        """All workers that run count as ready, for nobody can tell which one answered."""
        self._close_watcher()
        for seen in self._seen_workers():
            if seen.run.status is None:
                self._is_ready(seen)

    def _stage_told(self, stage: str) -> None:
        seen = self.fleet.seen.get(self.programs.workers[0].name)
        if seen is not None:
            self._reached(seen, stage)

    def _close_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _close_idle_watcher(self) -> None:
        if not self.state.coming:
            self._close_watcher()

    def _unresponsive(self, sentence: str) -> None:
        """Nobody answers; with several workers nobody can tell which one hangs."""
        seen = next(seen for seen in self._seen_workers() if seen.run.program.worker in self.state.ready)
        self._log.warning(f"{sentence}: that counts as a crash", pid=seen.run.pid)
        self.post(history.Unresponsive(self.timers.clock(), failures.unresponsive(self._evidence(seen), sentence)))

    def _check_liveness(self) -> None:
        """Ask from the beginning, and only while somebody is ready."""
        if self._checker is not None:
            self._checker.close()
        self._checker = self._check(self._unresponsive) if self.state.phase is Phase.SERVING else None

    def _evidence(self, seen: Seen) -> failures.Evidence:
        evidence = self.fleet.evidence(seen, self.timers.clock(), time.time())
        return replace(evidence, curve=self.sampler.curve(seen.run.program.name, seen.run.pid))

    # --- what the policy wants

    def _decide(self) -> None:
        while self._events:
            event, about = self._events.popleft()
            if about is not None and about.abandoned:
                continue
            before = self.state
            self.state, actions = policy.decide(before, event, self.limits)
            self.tally = tally.decided(self.tally, before.phase, self.state.phase, actions)
            if self.state.phase is not before.phase:
                self._entered()
            if self.state.moved != before.moved:
                self._name_workers()
            if self.state.restart_failure not in (None, before.restart_failure):
                self._log.warning(f"the workers are not replaced: {self.state.restart_failure.error}")
            if self.state is not before:
                self.changed()
                self._close_idle_watcher()
            for action in actions:
                self._carry_out(action)
        self._tell_clients()

    def _tell_clients(self) -> None:
        """A supervisor that stops leaves it as it was."""
        if self.state.phase is not Phase.STOPPING:
            next_at = self.alarms.at(Alarm.RETRY) or 0.0
            self._board.show(situation(self.state, self.limits, self.stage, self._entered_at, next_at))

    def _entered(self) -> None:
        self.since, self._entered_at = time.time(), self.timers.clock()
        self._check_liveness()
        self._log.line("debug", f"phase is now {self.state.phase.value}", phase=self.state.phase.value)

    def _name_workers(self) -> None:
        """Let people find the worker that serves under the same name, whichever side it is."""
        serving = sides_of(self.state, self.limits)
        self.engine.rename({each.name: shown_name(each, each.worker in serving) for each in self.programs.sides})

    def _carry_out(self, action: history.Action) -> None:
        match action:
            case history.StartWorker(worker):
                self.fleet.start(self.programs.sides[worker - 1], self.state.attempt)
            case history.StopWorker(worker):
                self.fleet.stop(self.programs.sides[worker - 1].name)
            case history.StartErrorServer(plain):
                self.fleet.start(self.programs.plain_error_server if plain else self.programs.error_server)
            case history.StopErrorServer():
                self.fleet.stop(ERROR_SERVER)
            case history.StartStandIn():
                self.fleet.start(self.programs.stand_in)
            case history.StopStandIn():
                self.fleet.stop(STAND_IN)
            case history.KeepReport(report):
                self._keep(report)
            case history.Plan(alarm, after, worker):
                self.alarms.plan(alarm, after, worker)
            case history.Cancel(alarm):
                self.alarms.cancel(alarm)
            case history.StopAll():
                self._close_watcher()
                self.fleet.stop_all()
            case history.KillAll():
                self.fleet.kill_all()
            case history.Exit():
                self._end()

    def _end(self) -> None:
        """End, but let who follows the output have its end first; the next turn asks again."""
        awaited = self.output_awaited_at
        if awaited is None or self.timers.clock() - awaited > LAST_CHANCE:
            self.engine.end()
        else:
            self.tell_soon()

    def _keep(self, report: FailureReport) -> None:
        where = f" in {report.stage}" if report.stage else ""
        self._log.line("error", f"the model server failed{where}: {report.error}", cause=report.cause.value)
        if is_refused(self.state, self.limits) and self.limits.max_retries:
            self._log.warning("not retried: it would only fail again; repair it, then try: drum-supervise restart")
        try:
            write_failure(report, self._run_dir.failure)
        except OSError as error:
            self._log.line("error", f"the failure report could not be written: {error}")

    def _seconds_to_wait(self) -> float:
        return self.fleet.seconds_to_wait()

    def _too_slow(self) -> FailureReport:
        """The report for the deadline, about the first worker that is not ready."""
        worker = min(self.state.coming, default=1)
        program = self.programs.sides[worker - 1]
        seen = self.fleet.seen.get(program.name) or Seen(Run(program, time.time(), self.timers.clock()), 1)
        return failures.too_slow(self._evidence(seen), self.limits.startup_timeout)


def _who(run: Run) -> str:
    return f"{run.program.name} (pid {run.pid})"
