"""Requests for single programs over supervisord's own interface, and the events of extra programs."""

import os
from collections.abc import Set

from drum_supervisor.contract.exits import signal_exit_code
from drum_supervisor.supervise.engine.run import ControlState, ExtraProgramExit, ProgramState
from drum_supervisor.supervise.failures.evidence import describe_exit
from drum_supervisor.supervise.policy.events import EssentialProgramExited, StartWorkerRequested, StopWorkerRequested
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import Program
from drum_supervisor.supervise.service.context import Context

COMMAND_NOT_FOUND = 127  # as in shells, and as supervisord's child exits without a command


class OperatorControl:
    """Turns requests into events of the policy, and its state into supervisord's states."""

    def __init__(self, context: Context, launcher: Launcher, essential: Set[str] = frozenset()) -> None:
        self._context = context
        self._launcher = launcher
        self._essential = essential

    def start(self, program: Program) -> str:
        return self._request(program, "start", StartWorkerRequested)

    def stop(self, program: Program) -> str:
        # It stays stopped until an operator starts it.
        return self._request(program, "stop", StopWorkerRequested)

    def control_state(self, program: Program) -> ControlState:
        if not self.is_worker(program):
            return ControlState(self._program_state(program))
        if self._context.queue.contains(StartWorkerRequested, program.worker):
            return ControlState(ProgramState.STARTING)
        return self._worker_state(program)

    def is_worker(self, program: Program) -> bool:
        return program.worker in self._context.service.current_workers

    def on_extra_changed(self) -> None:
        self._context.waiters.note_change()

    def on_extra_started(self, name: str, pid: int) -> None:
        self._context.log.information(f"{name} (pid {pid}) started", program=name, pid=pid)

    def on_extra_exited(self, program_exit: ExtraProgramExit) -> None:
        level, prefix = ("info", "stopped as requested: ") if program_exit.stop_requested else ("warning", "")
        how = describe_exit(program_exit.status)
        self._context.log.line(
            level,
            f"{program_exit.name} (pid {program_exit.pid}) {prefix}{how}",
            program=program_exit.name,
            pid=program_exit.pid,
        )

    def on_extra_gave_up(self, program_exit: ExtraProgramExit) -> None:
        how = (
            f"could not be started: {program_exit.spawn_error}"
            if program_exit.status is None
            else describe_exit(program_exit.status)
        )
        self._context.log.warning(f"{program_exit.name} {how}, and will not be restarted", program=program_exit.name)
        if program_exit.program in self._essential:
            reason = f"{program_exit.name}, an essential program, {how}"
            self._context.queue.put(
                EssentialProgramExited(self._context.now(), _exit_code(program_exit.status), reason)
            )

    def _request(self, program: Program, verb: str, event: type[StartWorkerRequested | StopWorkerRequested]) -> str:
        refusal = self._refusal(program)
        if refusal:
            self._context.log.warning(
                f"a request to {verb} {program.name} was refused: {refusal}", program=program.name
            )
        else:
            self._context.log.information(f"a request to {verb} {program.name} arrived", program=program.name)
            self._context.queue.put(event(self._context.now(), program.worker))
        return refusal

    def _refusal(self, program: Program) -> str:
        if self._context.service.is_stopping:
            return "the supervisor is stopping"
        if not self.is_worker(program):
            return f"{program.name} is started and stopped by the supervisor: start or stop the model server"
        return ""

    def _program_state(self, program: Program) -> ProgramState:
        run = self._context.service.current_run(program.name)
        if run is None or run.kill_denied:
            return ProgramState.STOPPED
        if run.stop_requested:
            return ProgramState.STOPPING
        return ProgramState.RUNNING if run.ready else ProgramState.STARTING

    def _worker_state(self, program: Program) -> ControlState:
        state, launcher = self._context.service.state, self._launcher
        run = self._context.service.current_run(program.name)
        if program.worker in state.ready:
            return ControlState(ProgramState.RUNNING)
        if program.worker in state.starting:
            is_waiting = run is None and not launcher.is_pending(program.name)
            return ControlState(ProgramState.BACKOFF if is_waiting else ProgramState.STARTING, "will be restarted")
        if (run is not None and not run.kill_denied) or launcher.is_sweeping(program.name):
            return ControlState(ProgramState.STOPPING)
        if program.slot in state.stopped_by_operator or self._context.service.is_stopping or state.report is None:
            return ControlState(ProgramState.STOPPED)
        return ControlState(ProgramState.FATAL, state.report.error)


def _exit_code(status: int | None) -> int:
    if status is None:
        return COMMAND_NOT_FOUND
    return signal_exit_code(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
