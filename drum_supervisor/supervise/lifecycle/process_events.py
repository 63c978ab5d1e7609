"""Turns observations of a run into events of the policy: its start, its messages, its exit."""

import math
import time

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.report_pipe import InitFailedMessage, Message, ReadyMessage, RecycleMessage, StageMessage
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.failures import report as reports
from drum_supervisor.supervise.failures.evidence import Evidence, describe_end, describe_exit
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Program
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.watch.worker_watch import Victim, WorkerWatch

FIRST_SAMPLE_AFTER = 0.02  # seconds; by then a program is past its exec
RECENT = 30.0  # seconds; an earlier OOM kill does not explain the exit of a program that was ready


class ProcessEvents:
    """Reports the outcome of each start, and each exit, at most once."""

    def __init__(self, context: Context, sampler: Sampler) -> None:
        self._context = context
        self._sampler = sampler
        self._worker_watch = WorkerWatch(context.timers, self._own_worker_died, self._oom_killed)

    # --- a run starts, sends messages, ends

    def on_start(self, run: Run) -> None:
        log = self._context.log
        if run.spawn_error:
            log.line("error", f"{run.program.name} could not be started: {run.spawn_error}")
            self._on_unexpected_exit(run, self.evidence(run))
            return
        counter = self._context.kill_counters.watch(run.program.name, run.pid)
        log.information(f"{run.label} started", program=run.program.name, pid=run.pid)
        self._context.timers.set("sample", FIRST_SAMPLE_AFTER, self._sampler.sample_soon)
        if run.program.worker:
            self._context.service.stage = ""
            self._worker_watch.add(run, counter, on_probation=not self._context.programs.built_in)

    def on_message(self, run: Run, message: Message) -> None:
        match message:
            case ReadyMessage():
                self.note_ready(run)
            case StageMessage(name):
                self.note_stage(run, name)
            case RecycleMessage() if run.ready and run.program.worker:
                self._context.log.information(f"{run.label} has reached its request limit; recycling it", pid=run.pid)
                self._context.recycle_for_requests(run.program.slot)
            case InitFailedMessage() if run.program.worker:
                self.note_failed(run, reports.report_init_failed(self.evidence(run), message))

    def on_exit(self, run: Run) -> None:
        log = self._context.log
        self._sampler.record_exit(run.program.name, run.pid, run.cpu_seconds)
        if run.stop_requested:
            log.information(f"{run.label} stopped as requested: {describe_exit(run.status)}", pid=run.pid)
            if run.program.worker:
                self._context.queue.put(events.WorkerStopped(self._context.now(), run.program.worker))
        elif run.outcome_reported:
            log.information(f"{run.label} {describe_exit(run.status)}", pid=run.pid)
        else:
            evidence = self.evidence(run)
            log.warning(f"{run.label} {describe_end(evidence)}", pid=run.pid)
            self._on_unexpected_exit(run, evidence)

    def _on_unexpected_exit(self, run: Run, evidence: Evidence) -> None:
        now, program, queue = self._context.now(), run.program, self._context.queue
        if program.worker and not run.outcome_reported:
            worker_pid = self._worker_watch.find_fatal_death(run) if run.ready else None
            if worker_pid is not None:
                self._own_worker_died(run, worker_pid, run.status)
                return
            run.outcome_reported = True
            queue.put(events.WorkerExited(now, reports.report_exit(evidence), program.worker), run)
        elif program.name == ERROR_SERVER:
            is_taken = run.pid == 0  # the address, by another process: a retry may succeed
            is_plain = program is self._context.programs.plain_error_server
            queue.put(events.ErrorServerExited(now, run.ready or is_taken, is_plain))
        elif program.name == STAND_IN:
            queue.put(events.StandInExited(now, run.ready))

    # --- the outcome of a start

    def note_ready(self, run: Run) -> None:
        if run.ready or run.outcome_reported:
            return
        run.ready = True
        self._context.waiters.note_change()
        now = self._context.now()
        is_error_server = run.program.name == ERROR_SERVER
        hint = ", and answers with the reason; to retry, run: drum-supervise restart" if is_error_server else ""
        ready = f"{run.label} is ready after {now - run.started:.2f} s{hint}"
        self._context.log.information(ready, program=run.program.name, pid=run.pid)
        if run.program.worker:
            self._context.queue.put(events.WorkerReady(now, run.program.worker), run)
        elif is_error_server:
            self._context.queue.put(events.ErrorServerReady(now), run)

    def note_failed(self, run: Run, report: FailureReport) -> None:
        if run.outcome_reported:
            return
        run.outcome_reported = True
        if len(self._context.programs.workers) > 1:  # the policy may go on without this worker, and save no report
            self._context.log.warning(f"{run.label} cannot be initialized: {report.error}", pid=run.pid)
        self._context.queue.put(events.WorkerInitFailed(self._context.now(), report, run.program.worker), run)

    def note_stage(self, run: Run, stage: str) -> None:
        if run.program.worker:
            run.stage = self._context.service.stage = stage
            self._context.log.line("debug", f"{run.label} has reached {stage}", pid=run.pid)
            self._context.waiters.note_change()

    def needs_confirmation(self) -> bool:
        """Return whether one good answer of the address does not yet mean ready."""
        return self._worker_watch.needs_confirmation()

    # --- a server's own workers

    def _own_worker_died(self, run: Run, pid: int, status: int | None) -> None:
        # A server that loses a worker of its own during start-up or probation has failed.
        report = reports.report_worker_death(self.evidence(run), pid, status)
        if not run.ready:
            self.note_failed(run, report)
        elif not run.outcome_reported:
            run.outcome_reported = True
            worker = run.program.worker
            self._context.queue.put(events.FailedProbation(self._context.now(), report, worker), run)

    def _oom_killed(self, run: Run, victim: Victim) -> None:
        # The run goes on: an OOM-killed worker counts as a crash, a helper process does not.
        report = reports.report_oom_kill(self.evidence(run), victim.pid)
        self._context.log.warning(f"{victim.describe(run.label)} is gone, {report.error}", pid=victim.pid)
        self._context.waiters.note_change()
        if victim.is_worker and run.ready and self._context.programs.has_own_workers:
            worker = run.program.worker
            self._context.queue.put(events.OwnWorkerOomKilled(self._context.now(), report, worker), run)

    # --- evidence

    def evidence(self, run: Run) -> Evidence:
        """Return what is known of a run now, with its resource usage."""
        within = RECENT if run.ready else math.inf
        return Evidence(
            program=self._label(run.program),
            worker=run.program.slot,
            pid=run.pid,
            started_at=run.started_at,
            failed_at=time.time(),
            seconds=self._context.now() - run.started,
            attempt=run.attempt,
            status=run.status,
            stage=run.stage,
            stderr=run.stderr_tail.text(),
            stdout=run.stdout_tail.text(),
            peak_memory_bytes=run.peak_memory_bytes,
            was_ready=run.ready,
            spawn_error=run.spawn_error,
            is_command_unusable=run.is_command_unusable,
            oom_kill=self._context.kill_counters.find_last(run.program.name, run.pid, within),
            curve=self._sampler.usage_series(run.program.name, run.pid),
        )

    def _label(self, program: Program) -> str:
        name = program.group.replace("-", " ")
        return f"{name} (worker {program.slot})" if len(self._context.programs.workers) > 1 and program.slot else name

    def make_timeout_report(self) -> FailureReport:
        """Return the report for the start-up deadline, about a worker that is not ready."""
        service, now = self._context.service, self._context.now()
        program = self._context.programs.all_workers[min(service.state.starting, default=1) - 1]
        run = service.runs.get(program.name) or Run(program, started=now)
        return reports.report_startup_timeout(self.evidence(run), service.limits.startup_timeout)
