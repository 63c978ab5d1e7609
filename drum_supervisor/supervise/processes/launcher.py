"""Starts and stops the programs, each only when what is left of its predecessor is gone."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from drum_supervisor.contract.exits import AddressError
from drum_supervisor.contract.listener import Address, bind
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.processes.sweeper import EVERYTHING, Sweeper
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Program, Programs
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.service.tracked_run import TrackedRun


@dataclass(frozen=True)
class ServiceAddress:
    """Where the service answers.

    Attributes:
        listener: the shared listener, which all programs inherit; None: the model server binds the address itself.
        backlog: of a listener that is bound for the error server alone.
    """

    address: Address
    listener: socket.socket | None
    backlog: int


@dataclass(frozen=True)
class _PendingStart:
    """A start that waits for what is left of a predecessor, which is killed and gone at `deadline` at the latest."""

    program: Program
    attempt: int
    deadline: float


class Launcher:
    """Starts and stops the programs.

    Without a shared listener the model server binds the address itself, and the error server, which inherits a
    listener like the others, gets one that is bound for it alone.

    Args:
        stop_timeout: seconds between TERM and KILL.
    """

    def __init__(self, context: Context, engine: Engine, served_at: ServiceAddress, stop_timeout: float) -> None:
        self._context = context
        self._engine = engine
        self._served_at = served_at
        self._stop_timeout = stop_timeout
        self._pending: dict[str, _PendingStart] = {}
        self._sweeper = Sweeper(engine.orphans, context.timers, stop_timeout)
        self._shutdown: Shutdown | None = None

    def start(self, program: Program, attempt: int = 1) -> None:
        """Start a program as soon as possible; leave one alone that runs and was not asked to stop."""
        run = self._engine.current_run(program.name)
        if run is None or run.stop_requested:
            deadline = self._context.now() + 2 * self._stop_timeout  # TERM and KILL to it, and to its orphans
            self._pending[program.name] = _PendingStart(program, attempt, deadline)

    def start_at_once(self, program: Program, listener: socket.socket | None) -> TrackedRun:
        """Start a program that does not serve the address; it may have a listener of its own."""
        run = self._engine.start(program, listener.fileno() if listener else None)
        tracked = self._context.service.runs[program.name] = TrackedRun(run, attempt=1)
        return tracked

    def seconds_to_wait(self) -> float:
        """Return the longest time that the pending starts of workers may still have to wait for their predecessors."""
        deadlines = [each.deadline for each in self._pending.values() if each.program.worker]
        return max(max(deadlines, default=0.0) - self._context.now(), 0.0)

    def stop(self, name: str, timeout: float | None = None) -> None:
        """Stop a program and its descendants; `timeout` seconds until KILL, if not the usual time."""
        self._pending.pop(name, None)
        if (tracked := self._context.service.runs.get(name)) is not None:
            tracked.outcome_reported = tracked.stale = True
        if self._engine.current_run(name) is not None:
            self._engine.stop(name, self._stop_timeout if timeout is None else timeout)

    def stop_all(self) -> None:
        """Stop everything, and start nothing any more."""
        self._pending.clear()
        programs = self._context.programs
        self._shutdown = Shutdown(self._engine, programs, self._context.timers, self._stop_timeout, self.stop)
        self._shutdown.turn()

    def kill_all(self) -> None:
        if self._shutdown is not None:
            self._shutdown.hurry()
        for program in self._context.programs.all:
            self._engine.kill(program.name)
        self._engine.kill_extra()
        self._sweeper.kill()

    def is_pending(self, name: str) -> bool:
        """Return whether the start of a program waits for its predecessor."""
        return name in self._pending

    def is_sweeping(self, name: str) -> bool:
        """Return whether orphans of a program are left."""
        return self._sweeper.is_sweeping(name)

    def exited(self, run: Run) -> None:
        """Sweep up what a program left that was reaped."""
        self._sweeper.sweep(run.program.name)

    def rename_workers(self, shown: dict[str, str]) -> None:
        """Show the workers under other names to operators."""
        self._engine.rename(shown)

    def turn(self) -> list[TrackedRun]:
        """At the end of a turn of the loop: sweep up, and start what waited for that; return what was started."""
        if self._shutdown is not None:
            self._shutdown.turn()
            if self._shutdown.has_stopped_ours:
                self._sweeper.sweep(EVERYTHING)
        if self._sweeper.turn():
            self._context.waiters.note_change()
        started = []
        for name in list(self._pending):
            if name in self._pending and self._is_free(self._pending[name].program):
                pending = self._pending.pop(name)
                started.append(self._launch(pending.program, pending.attempt))
        return started

    def is_all_gone(self) -> bool:
        """Return whether no program, ours or the user's, and no descendant of one is left.

        A process that cannot be killed is not waited for.
        """
        runs = [self._engine.current_run(program.name) for program in self._context.programs.all]
        ours = any(run is not None and not run.kill_denied for run in runs)
        return not ours and not self._engine.has_extra_running() and not self._sweeper.is_sweeping(EVERYTHING)

    def _is_free(self, program: Program) -> bool:
        """Whether the predecessor is gone and, without a shared listener, every other program on the address too."""
        programs, holders = self._context.programs, [program.name]
        if not programs.shared:
            holders = [other.name for other in programs.on_the_address]
            if program.worker:
                for name in (ERROR_SERVER, STAND_IN):
                    self.stop(name)
        return not any(self._engine.current_run(name) or self._sweeper.is_sweeping(name) for name in holders)

    def _launch(self, program: Program, attempt: int) -> TrackedRun:
        own_listener: socket.socket | None = None
        try:
            if self._served_at.listener is None and not program.worker:
                own_listener = bind(self._served_at.address, self._served_at.backlog)
        except AddressError as error:
            run = Run(program, 0.0, 0.0, spawn_error=str(error))
        else:
            listener = self._served_at.listener or own_listener
            run = self._engine.start(program, listener.fileno() if listener else None)
        finally:
            if own_listener is not None:
                with suppress(OSError):
                    own_listener.close()
        memory = self._context.kill_counters.watch(run.pid) if run.pid else None
        tracked = self._context.service.runs[program.name] = TrackedRun(run, attempt, memory=memory)
        return tracked


class Shutdown:
    """Stops what has the highest priority, then, when that is gone, what has the next one.

    Programs of ours have the priority of the model server. Usually all have the same, and are told at once.

    Args:
        timeout: seconds until KILL, for all together.
        stop: stops a program of ours, given the seconds until KILL.
    """

    def __init__(
        self,
        engine: Engine,
        programs: Programs,
        timers: Timers,
        timeout: float,
        stop: Callable[[str, float], None],
    ) -> None:
        self._engine = engine
        self._names = [program.name for program in programs.all]
        self._timers = timers
        self._until = timers.clock() + timeout
        self._stop = stop
        self._ours = engine.priority_of(programs.workers[0].name)
        self._to_come = engine.begin_stopping()
        self._present: int | None = None

    @property
    def has_stopped_ours(self) -> bool:
        """Whether our programs were asked to stop, or are gone."""
        return self._ours not in self._to_come

    def hurry(self) -> None:
        """Wait for nobody any more: everything is being killed."""
        self._to_come = []

    def turn(self) -> None:
        """Go on as far as possible."""
        while self._to_come and not self._is_left():
            self._present, *self._to_come = self._to_come
            left = max(self._until - self._timers.clock(), 0.0)
            self._engine.stop_extra(self._present, left)
            for name in self._names if self._present == self._ours else ():
                self._stop(name, left)

    def _is_left(self) -> bool:
        if self._present is None:
            return False
        ours = self._present == self._ours and any(self._engine.current_run(name) for name in self._names)
        return ours or self._engine.has_extra_running(self._present)
