"""What operators ask of single programs, over supervisord's own interface, and what becomes of programs of theirs."""

import os
from collections.abc import Set

from drum_supervisor.contract.exits import of_signal
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import ControlState, ExtraProgramExit, ProgramState
from drum_supervisor.supervise.failures.evidence import describe_exit
from drum_supervisor.supervise.policy.events import EssentialProgramExited, StartWorkerRequested, StopWorkerRequested
from drum_supervisor.supervise.policy.state import Phase, current_workers
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.program import Program
from drum_supervisor.supervise.service.context import Context

COULD_NOT_BE_STARTED = 127  # as shells have it, and as supervisord's child exits when there is nothing to run


class OperatorControl:
    """Turns requests into events for the policy, and its state into supervisord's words. Refusals are sentences."""

    def __init__(self, context: Context, engine: Engine, launcher: Launcher, essential: Set[str] = frozenset()) -> None:
        self._context = context
        self._engine = engine
        self._launcher = launcher
        self._essential = essential

    def start(self, program: Program) -> str:
        """Have a worker started; return why not, or "" if it will be."""
        return self._request(program, "start", StartWorkerRequested)

    def stop(self, program: Program) -> str:
        """Have a worker stopped, and not started again until an operator asks for it; return why not, or ""."""
        return self._request(program, "stop", StopWorkerRequested)

    def control_state(self, program: Program) -> ControlState:
        """Return how a program stands."""
        if not self.is_worker(program):
            return ControlState(self._running(program))
        if self._context.queue.contains(StartWorkerRequested, program.worker):
            return ControlState(ProgramState.STARTING)
        return self._worker(program)

    def is_worker(self, program: Program) -> bool:
        """Return whether it serves, or should: all others come and go by themselves."""
        return program.worker in current_workers(self._context.service.state, self._context.service.limits)

    def on_extra_changed(self) -> None:
        """A further program stands differently now."""
        self._context.waiters.note_change()

    def on_extra_started(self, name: str, pid: int) -> None:
        """A further program was started."""
        self._context.log.information(f"{name} (pid {pid}) started", program=name, pid=pid)

    def on_extra_exited(self, program_exit: ExtraProgramExit) -> None:
        """A further program was reaped; supervisord may start it again."""
        level, asked = ("info", "stopped as requested: ") if program_exit.stop_requested else ("warning", "")
        how = describe_exit(program_exit.status)
        self._context.log.line(
            level,
            f"{program_exit.name} (pid {program_exit.pid}) {asked}{how}",
            program=program_exit.name,
            pid=program_exit.pid,
        )

    def on_extra_gave_up(self, program_exit: ExtraProgramExit) -> None:
        """A further program has ended for good: the supervisor does not outlive one that is essential."""
        how = (
            f"could not be started: {program_exit.spawn_error}"
            if program_exit.status is None
            else describe_exit(program_exit.status)
        )
        self._context.log.warning(f"{program_exit.name} {how}, and is not started again", program=program_exit.name)
        if program_exit.program in self._essential:
            words = f"{program_exit.name}, an essential program, {how}"
            self._context.queue.put(EssentialProgramExited(self._context.now(), _exit_code(program_exit.status), words))

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
        if self._context.service.state.phase is Phase.STOPPING:
            return "the supervisor is stopping"
        if not self.is_worker(program):
            return f"{program.name} comes and goes by itself: start or stop the model server"
        return ""

    def _running(self, program: Program) -> ProgramState:
        run, tracked = self._engine.current_run(program.name), self._context.service.runs.get(program.name)
        if run is None or run.kill_denied:
            return ProgramState.STOPPED
        if run.stop_requested:
            return ProgramState.STOPPING
        return ProgramState.RUNNING if tracked and tracked.ready else ProgramState.STARTING

    def _worker(self, program: Program) -> ControlState:
        state, launcher = self._context.service.state, self._launcher
        run = self._engine.current_run(program.name)
        if program.worker in state.ready:
            return ControlState(ProgramState.RUNNING)
        if program.worker in state.starting:
            waits = run is None and not launcher.is_pending(program.name)
            return ControlState(ProgramState.BACKOFF if waits else ProgramState.STARTING, "will be started again")
        if (run is not None and not run.kill_denied) or launcher.is_sweeping(program.name):
            return ControlState(ProgramState.STOPPING)
        if program.slot in state.stopped_by_operator or state.phase is Phase.STOPPING or state.report is None:
            return ControlState(ProgramState.STOPPED)
        return ControlState(ProgramState.FATAL, state.report.error)


def _exit_code(status: int | None) -> int:
    """Return the exit code that says the same as a wait status; None: it could not be started."""
    if status is None:
        return COULD_NOT_BE_STARTED
    return of_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
