"""Readiness and liveness of servers that do not use the report pipe: responses of the address become events.

With several workers it is unknown which one responded.
"""

from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.failures.report import report_error_answer, report_failed_liveness
from drum_supervisor.supervise.health.liveness import Liveness, LivenessProbe
from drum_supervisor.supervise.health.probe import PollSet
from drum_supervisor.supervise.health.readiness import AddressWatcher, NotifySocket, ReadinessProbe
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.policy.events import LivenessFailed
from drum_supervisor.supervise.programs.program import Readiness
from drum_supervisor.supervise.service.context import Context


@dataclass(frozen=True)
class Probes:
    address: Address
    readiness: ReadinessProbe
    liveness: LivenessProbe | None
    notify_socket: Path  # for servers that send sd_notify messages

    @classmethod
    def of(cls, settings: Settings, address: Address, notify_socket: Path) -> "Probes":
        prefix = settings.url_prefix
        below = 400 if settings.ready_path else 500  # nothing promises /ping: a 404 means ready too
        readiness = ReadinessProbe(prefix + (settings.ready_path or "/ping"), below, settings.ready_failed)
        liveness = None
        if settings.alive_path:
            timing = settings.alive_interval, settings.alive_timeout, settings.alive_failures
            liveness = LivenessProbe(prefix + settings.alive_path, *timing)
        return cls(address, readiness, liveness, notify_socket)


class HealthChecks:
    """Checks readiness while workers start, and liveness while they serve."""

    def __init__(self, context: Context, process_events: ProcessEvents, probes: Probes, poll_set: PollSet) -> None:
        self._context = context
        self._process_events = process_events
        self._probes = probes
        self._poll_set = poll_set
        self._readiness: AddressWatcher | NotifySocket | None = None
        self._liveness: Liveness | None = None
        self._phase_entered_at = context.service.entered_at

    def follow(self) -> None:
        if not any(run.is_starting for run in self._context.worker_runs()):
            self._stop_readiness()
        elif self._readiness is None:
            self._start_readiness()
        if self._phase_entered_at != self._context.service.entered_at:
            self._phase_entered_at = self._context.service.entered_at
            self._restart_liveness()

    def _start_readiness(self) -> None:
        probes, context = self._probes, self._context
        if context.programs.readiness is Readiness.NOTIFY:
            self._readiness = NotifySocket(self._poll_set, probes.notify_socket, self)
        elif context.programs.readiness is not Readiness.REPORT:
            probe = probes.readiness if context.programs.readiness is Readiness.HTTP else None
            self._readiness = AddressWatcher(self._poll_set, context.timers, probes.address, probe, self)

    def _stop_readiness(self) -> None:
        if self._readiness is not None:
            self._readiness.close()
            self._readiness = None

    def _restart_liveness(self) -> None:
        if self._liveness is not None:
            self._liveness.close()
            self._liveness = None
        probes, context = self._probes, self._context
        if probes.liveness is not None and context.service.is_serving:
            self._liveness = Liveness(
                self._poll_set, context.timers, probes.address, probes.liveness, context.log, self._on_liveness_failed
            )

    # --- results of the readiness check

    def on_ready(self) -> None:
        """The address gave a good answer; that is not enough while workers await confirmation."""
        if self._context.programs.readiness is Readiness.HTTP and self._process_events.needs_confirmation():
            return
        self._stop_readiness()
        for run in self._context.worker_runs():
            if run.status is None:
                self._process_events.note_ready(run)

    def on_stage(self, stage: str) -> None:
        """The server reported a stage of its initialization: STATUS= of sd_notify."""
        for run in self._context.worker_runs():
            if run.program is self._context.programs.workers[0]:
                self._process_events.note_stage(run, stage)

    def on_failed(self, message: str) -> None:
        """The address responded that initialization failed."""
        self._stop_readiness()
        for run in [run for run in self._context.worker_runs() if run.is_starting]:
            self._process_events.note_failed(run, report_error_answer(self._process_events.evidence(run), message))

    # --- liveness

    def _on_liveness_failed(self, reason: str) -> None:
        # The failure report is about the first worker that should have answered.
        ready = self._context.service.state.ready
        run = next(run for run in self._context.worker_runs() if run.program.worker in ready)
        self._context.log.warning(f"{reason}: that counts as a crash", pid=run.pid)
        report = report_failed_liveness(self._process_events.evidence(run), reason)
        self._context.queue.put(LivenessFailed(self._context.now(), report))
