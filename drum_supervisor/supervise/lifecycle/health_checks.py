"""Readiness and liveness of servers that do not report for themselves: what the address answers becomes events.

With several workers it is not known which one answered.
"""

from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.failures.report import report_error_answer, report_failed_liveness
from drum_supervisor.supervise.health.liveness import Liveness, LivenessProbe
from drum_supervisor.supervise.health.probe import PollSet
from drum_supervisor.supervise.health.readiness import AddressWatcher, NotifySocket, ReadinessProbe
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.policy.events import LivenessFailed
from drum_supervisor.supervise.policy.state import Phase
from drum_supervisor.supervise.programs.program import Readiness
from drum_supervisor.supervise.service.context import Context


@dataclass(frozen=True)
class Probes:
    """What is probed, and where.

    Attributes:
        liveness: None: liveness is not checked.
        notify_socket: where sd_notify messages arrive, for servers that send them.
    """

    address: Address
    readiness: ReadinessProbe
    liveness: LivenessProbe | None
    notify_socket: Path


class HealthChecks:
    """Watches readiness while workers start, and liveness while they serve.

    Args:
        polled: polls the probes' sockets: the engine.
    """

    def __init__(self, context: Context, process_events: ProcessEvents, probes: Probes, poll_set: PollSet) -> None:
        self._context = context
        self._process_events = process_events
        self._probes = probes
        self._poll_set = poll_set
        self._readiness: AddressWatcher | NotifySocket | None = None
        self._liveness: Liveness | None = None
        self._phase_entered_at = context.service.entered_at

    def follow(self) -> None:
        """Watch what the state of the service asks for."""
        if not any(tracked.is_starting for tracked in self._context.worker_runs()):
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
        if probes.liveness is not None and context.service.state.phase is Phase.SERVING:
            self._liveness = Liveness(
                self._poll_set, context.timers, probes.address, probes.liveness, context.log, self._on_liveness_failed
            )

    # --- what the readiness watcher observes

    def on_ready(self) -> None:
        """The address gave a good answer; with servers on probation, one is not enough."""
        if self._context.programs.readiness is Readiness.HTTP and self._process_events.needs_confirmation():
            return
        self._stop_readiness()
        for tracked in self._context.worker_runs():
            if tracked.run.status is None:
                self._process_events.note_ready(tracked)

    def on_stage(self, stage: str) -> None:
        """The server named a stage of its initialization: STATUS= of sd_notify."""
        for tracked in self._context.worker_runs():
            if tracked.run.program is self._context.programs.workers[0]:
                self._process_events.note_stage(tracked, stage)

    def on_failed(self, message: str) -> None:
        """The address answered that initialization failed."""
        self._stop_readiness()
        for tracked in [tracked for tracked in self._context.worker_runs() if tracked.is_starting]:
            self._process_events.note_failed(
                tracked, report_error_answer(self._process_events.evidence(tracked), message)
            )

    # --- liveness

    def _on_liveness_failed(self, sentence: str) -> None:
        """The server no longer answers; the report is about the first worker that should."""
        ready = self._context.service.state.ready
        tracked = next(tracked for tracked in self._context.worker_runs() if tracked.run.program.worker in ready)
        self._context.log.warning(f"{sentence}: that counts as a crash", pid=tracked.run.pid)
        report = report_failed_liveness(self._process_events.evidence(tracked), sentence)
        self._context.queue.put(LivenessFailed(self._context.now(), report))
