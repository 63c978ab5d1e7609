"""From what is observed of a run to events of the policy: its start, its messages, its end."""

import math
import time

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.report_pipe import InitFailed, Message, Ready, Spent, Stage
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.failures import report as reports
from drum_supervisor.supervise.failures.evidence import Evidence, describe_end, describe_exit
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.events import RestartCause
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Program
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.service.seen import Seen
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.watch.oom_watch import OomWatch, Victim
from drum_supervisor.supervise.watch.startup_watch import StartupWatch
from drum_supervisor.supervise.watch.worker_deaths import Death

FIRST_SAMPLE_AFTER = 0.02  # seconds; by then a program is past its exec
RECENT = 30.0  # seconds: an OOM kill from before does not explain the end of a program that was ready


class ProcessEvents:
    """Reports to the policy how the start of each run came out and that it ended, each at most once."""

    def __init__(self, context: Context, sampler: Sampler) -> None:
        self._context = context
        self._sampler = sampler
        self._startup_watch = StartupWatch(context.timers, self._own_worker_died)
        self._oom_watch = OomWatch(context.timers, self._oom_killed)

    # --- a run starts, sends messages, ends

    def on_start(self, seen: Seen) -> None:
        """A program was started, or could not be."""
        run, log = seen.run, self._context.log
        if run.spawn_error:
            log.line("error", f"{run.program.name} could not be started: {run.spawn_error}")
            self._lost(seen)
            return
        log.information(f"{run.label} started", program=run.program.name, pid=run.pid)
        self._context.timers.set("sample", FIRST_SAMPLE_AFTER, self._sampler.began)
        if run.program.worker:
            self._context.service.stage = ""
            if not self._context.programs.built_in:
                self._startup_watch.add(seen)
            self._oom_watch.add(seen)

    def on_message(self, seen: Seen, message: Message) -> None:
        """A program sent a message on its report pipe."""
        run = seen.run
        match message:
            case Ready():
                self.note_ready(seen)
            case Stage(name):
                self.note_stage(seen, name)
            case Spent() if seen.ready and run.program.worker:
                self._context.log.information(f"{run.label} has reached its request limit; recycling it", pid=run.pid)
                self._context.recycle(run.program.slot, RestartCause.REQUEST_LIMIT)
            case InitFailed() if run.program.worker:
                self.note_failed(seen, reports.report_init_failed(self.evidence(seen), message))

    def on_exit(self, seen: Seen) -> None:
        """A program was reaped."""
        run, log = seen.run, self._context.log
        self._sampler.ended(run.program.name, run.pid, run.cpu_seconds)
        if run.stop_requested:
            log.information(f"{run.label} stopped as asked: {describe_exit(run.status)}", pid=run.pid)
            self._context.queue.put(events.WorkerStopped(self._context.now(), run.program.worker))
        elif seen.outcome_reported:
            log.information(f"{run.label} {describe_exit(run.status)}", pid=run.pid)
        else:
            log.warning(f"{run.label} {describe_end(self.evidence(seen))}", pid=run.pid)
            self._lost(seen)

    def _lost(self, seen: Seen) -> None:
        """A run ended without being asked to."""
        now, program, queue = self._context.now(), seen.run.program, self._context.queue
        if program.worker and not seen.outcome_reported:
            death = self._startup_watch.worker_lost_by(seen) if seen.ready else None
            if death is not None:
                self._own_worker_died(seen, death)
                return
            seen.outcome_reported = True
            queue.put(events.WorkerExited(now, reports.report_exit(self.evidence(seen)), program.worker), seen)
        elif program.name == ERROR_SERVER:
            is_taken = seen.run.pid == 0  # the address, by another process: that may pass
            is_plain = program is self._context.programs.plain_error_server
            queue.put(events.ErrorServerExited(now, seen.ready or is_taken, is_plain))
        elif program.name == STAND_IN:
            queue.put(events.StandInExited(now, seen.ready))

    # --- how a start comes out, whoever observed it

    def note_ready(self, seen: Seen) -> None:
        """A program answers."""
        if seen.ready or seen.outcome_reported:
            return
        seen.ready = True
        self._context.waiters.note_change()
        run, now = seen.run, self._context.now()
        is_error_server = run.program.name == ERROR_SERVER
        hint = ", and answers with the reason; try again with: drum-supervise restart" if is_error_server else ""
        ready = f"{run.label} is ready after {now - run.started:.2f} s{hint}"
        self._context.log.information(ready, program=run.program.name, pid=run.pid)
        if run.program.worker:
            self._context.queue.put(events.WorkerReady(now, run.program.worker), seen)
        elif is_error_server:
            self._context.queue.put(events.ErrorServerReady(now), seen)

    def note_failed(self, seen: Seen, report: FailureReport) -> None:
        """A worker cannot be initialized."""
        if seen.outcome_reported:
            return
        seen.outcome_reported = True
        run = seen.run
        if len(self._context.programs.workers) > 1:  # the policy may go on without it and save no report
            self._context.log.warning(f"{run.label} cannot be initialized: {report.error}", pid=run.pid)
        self._context.queue.put(events.WorkerInitFailed(self._context.now(), report, run.program.worker), seen)

    def note_stage(self, seen: Seen, stage: str) -> None:
        """A program has reached a stage of its initialization."""
        if seen.run.program.worker:
            seen.stage = self._context.service.stage = stage
            self._context.log.line("debug", f"{seen.run.label} has reached {stage}", pid=seen.run.pid)
            self._context.waiters.note_change()

    def is_any_on_probation(self) -> bool:
        """Return whether one good answer of the address says too little about its servers."""
        return self._startup_watch.is_any_on_probation()

    # --- a server's own workers

    def _own_worker_died(self, seen: Seen, death: Death) -> None:
        """A server that loses a worker of its own during start-up or probation has failed."""
        report = reports.report_worker_death(self.evidence(seen), death.pid, death.status)
        if not seen.ready:
            self.note_failed(seen, report)
        elif not seen.outcome_reported:
            seen.outcome_reported = True
            worker = seen.run.program.worker
            self._context.queue.put(events.FailedProbation(self._context.now(), report, worker), seen)

    def _oom_killed(self, seen: Seen, victim: Victim) -> None:
        """A process below a run that goes on was OOM-killed: one that serves counts as a crash, a helper does not."""
        report = reports.report_oom_kill(self.evidence(seen), victim.pid)
        self._context.log.warning(f"{victim.of(seen.run.label)} is gone, {report.error}", pid=victim.pid)
        self._context.waiters.note_change()
        if victim.serves and seen.ready and self._context.programs.has_own_workers:
            worker = seen.run.program.worker
            self._context.queue.put(events.OwnWorkerOomKilled(self._context.now(), report, worker), seen)

    # --- evidence

    def evidence(self, seen: Seen) -> Evidence:
        """Return what is known of a run so far, with its resource usage."""
        run = seen.run
        return Evidence(
            program=self._label(run.program),
            worker=run.program.slot,
            pid=run.pid,
            started_at=run.started_at,
            failed_at=time.time(),
            seconds=self._context.now() - run.started,
            attempt=seen.attempt,
            status=run.status,
            stage=seen.stage,
            stderr=run.stderr_tail.text(),
            stdout=run.stdout_tail.text(),
            peak_memory_bytes=run.peak_memory_bytes,
            was_ready=seen.ready,
            spawn_error=run.spawn_error,
            oom_kill=seen.memory.verdict(RECENT if seen.ready else math.inf) if seen.memory else None,
            curve=self._sampler.curve(run.program.name, run.pid),
        )

    def _label(self, program: Program) -> str:
        name = program.group.replace("-", " ")
        return f"{name} (worker {program.slot})" if len(self._context.programs.workers) > 1 and program.slot else name

    def startup_timed_out(self) -> FailureReport:
        """Return the report for the start-up deadline: about a worker that is not ready, started or not."""
        service, now = self._context.service, self._context.now()
        program = self._context.programs.all_workers[min(service.state.starting, default=1) - 1]
        seen = service.seen.get(program.name) or Seen(Run(program, time.time(), now), attempt=1)
        return reports.report_startup_timeout(self.evidence(seen), service.limits.startup_timeout)
