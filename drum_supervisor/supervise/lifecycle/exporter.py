"""The metrics exporter and its restarts.

It is independent of the service: the policy does not know it, and neither readiness nor the exit code depends on it.
"""

import socket

from drum_supervisor.contract.report_pipe import Message, ReadyMessage
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.failures.evidence import describe_exit
from drum_supervisor.supervise.policy.transitions import back_off
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import EXPORTER, Program
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler

FIRST_START_DELAY = 0.1  # seconds: the model server starts first
MIN_DELAY, MAX_DELAY = 1.0, 60.0
EARLY_EXIT_SECONDS = 60.0  # a later exit resets the back-off


class Exporter:
    """Handles the events of the exporter, and restarts it for ever.

    While it is not running, connections wait in the backlog of its listener; without one it only sends metrics.
    """

    def __init__(
        self, context: Context, launcher: Launcher, sampler: Sampler, program: Program, listener: socket.socket | None
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._sampler = sampler
        self._program = program
        self._listener = listener
        self._early_exits = 0
        context.timers.set(self, FIRST_START_DELAY, self._start)

    def on_start(self, run: Run) -> None:
        self._context.waiters.note_change()
        if run.spawn_error:
            self._restart_later(run, f"could not be started: {run.spawn_error}")
        else:
            self._context.log.information(f"{run.label} started", program=EXPORTER, pid=run.pid)

    def on_message(self, run: Run, message: Message) -> None:
        if isinstance(message, ReadyMessage):
            run.ready = True
            self._context.waiters.note_change()

    def on_exit(self, run: Run) -> None:
        self._sampler.record_exit(EXPORTER, run.pid, run.cpu_seconds)
        if run.stop_requested:
            self._context.log.information(f"{run.label} stopped as requested: {describe_exit(run.status)}", pid=run.pid)
        else:
            self._restart_later(run, describe_exit(run.status))

    def _start(self) -> None:
        if not self._context.service.is_stopping:
            self.on_start(self._launcher.start_at_once(self._program, self._listener))

    def _restart_later(self, run: Run, reason: str) -> None:
        lifetime = self._context.now() - run.started
        self._early_exits = 1 if lifetime > EARLY_EXIT_SECONDS else self._early_exits + 1
        delay = back_off(MIN_DELAY, self._early_exits - 1, MAX_DELAY)
        self._context.log.warning(f"{run.label} {reason}; restarting it in {delay:g} s", pid=run.pid)
        self._context.timers.set(self, delay, self._start)
