"""What single programs are seen to do, from their start to their end, and the events that the policy gets for that."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.report_pipe import InitFailed, Message, Ready, Spent, Stage
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.failures import report as failures
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.events import Event
from drum_supervisor.supervise.processes.launcher import Launcher, Seen
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Programs
from drum_supervisor.supervise.watch.oom_watch import OomWatch, Victim
from drum_supervisor.supervise.watch.startup_watch import StartupWatch
from drum_supervisor.supervise.watch.worker_deaths import Death

if TYPE_CHECKING:
    from drum_supervisor.supervise.stats.sampler import Sampler

FIRST_SAMPLE_AFTER = 0.02  # by then a program is past its exec


class Post(Protocol):
    """Takes the events, each with the run that it is about: once that is past, the event is void."""

    def __call__(self, event: Event, about: Seen | None = None) -> None: ...


class ProcessEvents:
    """Sees what each run does, and tells the policy how its start came out and that it has ended, each at most once.

    Args:
        sampler: returns what samples the programs.
        changed: called when `status` would say something new.
        on_spent: what to do about a worker that has answered enough requests, given its place.

    Attributes:
        stage: the last one that a worker has reported since the last start of one.
    """

    def __init__(
        self,
        programs: Programs,
        fleet: Launcher,
        sampler: "Callable[[], Sampler]",
        timers: Timers,
        log: Log,
        post: Post,
        changed: Callable[[], None],
        on_spent: Callable[[int], None],
    ) -> None:
        self._programs = programs
        self._fleet = fleet
        self._sampler = sampler
        self._timers = timers
        self._log = log
        self._post = post
        self._changed = changed
        self._on_spent = on_spent
        self._newcomers = StartupWatch(timers, self._worker_died)
        self._memory_kills = OomWatch(timers, self._killed_below)
        self.stage = ""

    # --- a run begins, speaks, ends

    def started(self, seen: Seen) -> None:
        """A program was started, or could not be."""
        run = seen.run
        if run.spawn_error:
            self._log.line("error", f"{run.program.name} could not be started: {run.spawn_error}")
            self._lost(seen)
            return
        self._log.information(f"{run.who} started", program=run.program.name, pid=run.pid)
        self._timers.set("sample", FIRST_SAMPLE_AFTER, lambda: self._sampler().began())
        if run.program.worker:
            self.stage = ""
            if not self._programs.built_in:
                self._newcomers.add(seen)
            self._memory_kills.add(seen)

    def said(self, seen: Seen, message: Message) -> None:
        """A program wrote to its report pipe."""
        run = seen.run
        match message:
            case Ready():
                self.note_ready(seen)
            case Stage(name):
                self.note_stage(seen, name)
            case Spent() if seen.ready and run.program.worker:
                self._log.information(f"{run.who} has answered enough requests, and is replaced", pid=run.pid)
                self._on_spent(run.program.place)
            case InitFailed() if run.program.worker:
                self.note_failed(seen, failures.said(self.evidence(seen), message))

    def ended(self, seen: Seen) -> None:
        """A program was reaped."""
        run = seen.run
        if run.stop_asked:
            self._log.information(f"{run.who} stopped as asked: {failures.ending(run.status)}", pid=run.pid)
            self._post(events.WorkerStopped(self._timers.clock(), run.program.worker))
        elif seen.settled:
            self._log.information(f"{run.who} {failures.ending(run.status)}", pid=run.pid)
        else:
            self._log.warning(f"{run.who} {failures.full_ending(self.evidence(seen))}", pid=run.pid)
            self._lost(seen)

    def _lost(self, seen: Seen) -> None:
        """A run came to its end and nobody had asked for it."""
        now, program = self._timers.clock(), seen.run.program
        if program.worker and not seen.settled:
            death = self._newcomers.worker_lost_by(seen) if seen.ready else None
            if death is not None:
                self._worker_died(seen, death)
                return
            seen.settled = True
            self._post(events.WorkerExited(now, failures.gone(self.evidence(seen)), program.worker), seen)
        elif program.name == ERROR_SERVER:
            taken = seen.run.pid == 0  # the address: somebody else has it, which may pass
            plain = program is self._programs.plain_error_server
            self._post(events.ErrorServerExited(now, seen.ready or taken, plain))
        elif program.name == STAND_IN:
            self._post(events.StandInExited(now, seen.ready))

    # --- how its start comes out

    def note_ready(self, seen: Seen) -> None:
        """A program answers, whoever says so."""
        if seen.ready or seen.settled:
            return
        seen.ready = True
        self._changed()
        run, now = seen.run, self._timers.clock()
        hint = ", and answers with the reason; try again with: drum-supervise restart" * (
            run.program.name == ERROR_SERVER
        )
        ready = f"{run.who} is ready after {now - run.started:.2f} s{hint}"
        self._log.information(ready, program=run.program.name, pid=run.pid)
        if run.program.worker:
            self._post(events.WorkerReady(now, run.program.worker), seen)
        elif run.program.name == ERROR_SERVER:
            self._post(events.ErrorServerReady(now), seen)

    def note_failed(self, seen: Seen, report: FailureReport) -> None:
        """A worker cannot be initialized, whoever says so."""
        if not seen.settled:
            seen.settled = True
            if len(self._programs.workers) > 1:  # the policy may go on without it and keep no report
                self._log.warning(f"{seen.run.who} cannot be initialized: {report.error}", pid=seen.run.pid)
            self._post(events.WorkerInitFailed(self._timers.clock(), report, seen.run.program.worker), seen)

    def note_stage(self, seen: Seen, stage: str) -> None:
        """A program has come to a stage of its initialization."""
        if seen.run.program.worker:
            seen.stage = self.stage = stage
            self._log.line("debug", f"{seen.run.who} has reached {stage}", pid=seen.run.pid)
            self._changed()

    def is_any_on_trial(self) -> bool:
        """Return whether one good answer of the address says too little about its servers."""
        return self._newcomers.on_trial()

    # --- what befalls workers of its own

    def _worker_died(self, seen: Seen, death: Death) -> None:
        """A server that loses a worker of its own while it is new has failed."""
        report = failures.worker_gone(self.evidence(seen), death.pid, death.status)
        if not seen.ready:
            self.note_failed(seen, report)
        elif not seen.settled:
            seen.settled = True
            self._post(events.FailedProbation(self._timers.clock(), report, seen.run.program.worker), seen)

    def _killed_below(self, seen: Seen, victim: Victim) -> None:
        """The kernel has killed below a run that goes on: what serves counts as a crash, a helper of the model not."""
        report = failures.killed_below(self.evidence(seen), victim.pid)
        self._log.warning(f"{victim.of(seen.run.who)} is gone, {report.error}", pid=victim.pid)
        self._changed()
        if victim.serves and seen.ready and self._programs.have_own_workers:
            self._post(events.OwnWorkerOomKilled(self._timers.clock(), report, seen.run.program.worker), seen)

    # --- what is known of it

    def workers(self) -> list[Seen]:
        """Return the last run of each worker that was ever started."""
        return [seen for program in self._programs.sides if (seen := self._fleet.seen.get(program.name))]

    def evidence(self, seen: Seen) -> failures.Evidence:
        """Return what was seen of a run so far, and what it has used."""
        evidence = self._fleet.evidence(seen, self._timers.clock(), time.time())
        return replace(evidence, curve=self._sampler().curve(seen.run.program.name, seen.run.pid))

    def too_slow(self, worker: int, timeout: float) -> FailureReport:
        """Return the report for the deadline, about a worker that is not ready, and may not even have been started."""
        program = self._programs.sides[worker - 1]
        seen = self._fleet.seen.get(program.name) or Seen(Run(program, time.time(), self._timers.clock()), 1)
        return failures.too_slow(self.evidence(seen), timeout)
