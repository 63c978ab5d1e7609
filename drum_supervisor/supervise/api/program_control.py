"""What operators ask of single programs, over supervisord's own interface, and what becomes of programs of theirs."""

import os
from collections.abc import Set

from drum_supervisor.contract.exits import of_signal
from drum_supervisor.supervise.engine.run import ExtraProgramExit, ProgramStanding, ProgramState
from drum_supervisor.supervise.failures import report
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.events import (
    EssentialProgramExited,
    Phase,
    StartWorkerRequested,
    StopWorkerRequested,
)
from drum_supervisor.supervise.policy.state import sides_of
from drum_supervisor.supervise.programs.program import Program

COULD_NOT_BE_STARTED = 127  # as shells have it, and as supervisord's child exits when there is nothing to run


class OperatorControl:
    """Turns requests into events for the policy, and its state into supervisord's words. Refusals are sentences."""

    def __init__(self, loop: Loop, log: Log, essential: Set[str] = frozenset()) -> None:
        self._loop = loop
        self._log = log
        self._essential = essential

    def start(self, program: Program) -> str:
        """Have a worker started; return why not, or "" if it will be."""
        return self._request(program, "start", StartWorkerRequested)

    def stop(self, program: Program) -> str:
        """Have a worker stopped, and not started again until an operator asks for it; return why not, or ""."""
        return self._request(program, "stop", StopWorkerRequested)

    def standing(self, program: Program) -> ProgramStanding:
        """Return how a program stands."""
        if not self.is_worker(program):
            return ProgramStanding(self._running(program))
        if self._loop.is_posted(StartWorkerRequested, program.worker):
            return ProgramStanding(ProgramState.STARTING)
        return self._worker(program)

    def is_worker(self, program: Program) -> bool:
        """Return whether it serves, or should: all others come and go by themselves."""
        return program.worker in sides_of(self._loop.state, self._loop.limits)

    def other_changed(self) -> None:
        """A further program stands differently now."""
        self._loop.changes.note()

    def other_started(self, name: str, pid: int) -> None:
        """A further program was started."""
        self._log.information(f"{name} (pid {pid}) started", program=name, pid=pid)

    def other_exited(self, ended: ExtraProgramExit) -> None:
        """A further program was reaped; supervisord may start it again."""
        level, asked = ("info", "stopped as asked: ") if ended.stop_asked else ("warning", "")
        how = report.ending(ended.status)
        self._log.line(level, f"{ended.name} (pid {ended.pid}) {asked}{how}", program=ended.name, pid=ended.pid)

    def other_gave_up(self, ended: ExtraProgramExit) -> None:
        """A further program has ended for good: the supervisor does not outlive one that is essential."""
        how = f"could not be started: {ended.why}" if ended.status is None else report.ending(ended.status)
        self._log.warning(f"{ended.name} {how}, and is not started again", program=ended.name)
        if ended.program in self._essential:
            words = f"{ended.name}, an essential program, {how}"
            self._loop.post(EssentialProgramExited(self._loop.timers.clock(), _exit_code(ended.status), words))

    def _request(self, program: Program, verb: str, event: type[StartWorkerRequested | StopWorkerRequested]) -> str:
        refusal = self._refusal(program)
        if refusal:
            self._log.warning(f"a request to {verb} {program.name} was refused: {refusal}", program=program.name)
        else:
            self._log.information(f"a request to {verb} {program.name} arrived", program=program.name)
            self._loop.post(event(self._loop.timers.clock(), program.worker))
        return refusal

    def _refusal(self, program: Program) -> str:
        if self._loop.state.phase is Phase.STOPPING:
            return "the supervisor is stopping"
        if not self.is_worker(program):
            return f"{program.name} comes and goes by itself: start or stop the model server"
        return ""

    def _running(self, program: Program) -> ProgramState:
        run, seen = self._loop.engine.run_of(program.name), self._loop.fleet.seen.get(program.name)
        if run is None or run.is_untouchable:
            return ProgramState.STOPPED
        if run.stop_asked:
            return ProgramState.STOPPING
        return ProgramState.RUNNING if seen and seen.ready else ProgramState.STARTING

    def _worker(self, program: Program) -> ProgramStanding:
        state, fleet = self._loop.state, self._loop.fleet
        run = self._loop.engine.run_of(program.name)
        if program.worker in state.ready:
            return ProgramStanding(ProgramState.RUNNING)
        if program.worker in state.coming:
            waits = run is None and not fleet.is_waiting(program.name)
            return ProgramStanding(ProgramState.BACKOFF if waits else ProgramState.STARTING, "will be started again")
        if (run is not None and not run.is_untouchable) or fleet.is_sweeping(program.name):
            return ProgramStanding(ProgramState.STOPPING)
        if program.place in state.held or state.phase is Phase.STOPPING or state.report is None:
            return ProgramStanding(ProgramState.STOPPED)
        return ProgramStanding(ProgramState.FATAL, state.report.error)


def _exit_code(status: int | None) -> int:
    """Return the exit code that says the same as a wait status; None: it could not be started."""
    if status is None:
        return COULD_NOT_BE_STARTED
    return of_signal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
