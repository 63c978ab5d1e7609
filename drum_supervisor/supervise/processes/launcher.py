"""Starts and stops the programs; a start waits until its predecessor and the orphans of that are gone."""

import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from drum_supervisor.contract.exits import AddressError
from drum_supervisor.contract.listener import Address, bind
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.processes.sweeper import EVERYTHING, Sweeper
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Program
from drum_supervisor.supervise.service.context import Context


@dataclass(frozen=True)
class ServiceAddress:
    address: Address
    listener: socket.socket | None  # shared, inherited by all programs; None: the model server binds the address itself
    backlog: int  # of a listener that is bound for the error server alone


@dataclass(frozen=True)
class _PendingStart:
    program: Program
    attempt: int
    deadline: float  # by then the predecessor and its orphans have been killed


class Launcher:
    """Starts and stops the programs.

    Without a shared listener the model server binds the address itself, and the error server, which always inherits
    its listener, gets one that is bound for it alone.

    Args:
        stop_timeout: seconds between TERM and KILL.
    """

    def __init__(self, context: Context, engine: Engine, service_address: ServiceAddress, stop_timeout: float) -> None:
        self._context = context
        self._engine = engine
        self._service_address = service_address
        self._stop_timeout = stop_timeout
        self._pending: dict[str, _PendingStart] = {}
        self._sweeper = Sweeper(engine.orphans, context.timers, stop_timeout)
        self._shutdown: Shutdown | None = None

    def start(self, program: Program, attempt: int = 1) -> None:
        """Start a program as soon as possible, unless it runs and no stop was requested."""
        run = self._context.service.current_run(program.name)
        if run is None or run.stop_requested:
            deadline = self._context.now() + 2 * self._stop_timeout  # TERM and KILL for it, then for its orphans
            self._pending[program.name] = _PendingStart(program, attempt, deadline)

    def start_at_once(self, program: Program, listener: socket.socket | None) -> Run:
        """Start a program that does not serve the address, with its own listener if it has one."""
        run = self._context.service.runs[program.name] = Run(program)
        self._engine.start(run, listener.fileno() if listener else None)
        return run

    def seconds_to_wait(self) -> float:
        """Return the longest time for which pending starts of workers may still wait for their predecessors."""
        deadlines = [each.deadline for each in self._pending.values() if each.program.worker]
        return max(max(deadlines, default=0.0) - self._context.now(), 0.0)

    def stop(self, name: str, timeout: float | None = None) -> None:
        """Stop a program and its descendants; KILL after `timeout` seconds, by default the stop timeout."""
        self._pending.pop(name, None)
        if (run := self._context.service.runs.get(name)) is not None:
            run.outcome_reported = run.stale = True
        if self._context.service.current_run(name) is not None:
            self._engine.stop(name, self._stop_timeout if timeout is None else timeout)

    def stop_all(self) -> None:
        """Stop everything, and start nothing from now on."""
        self._pending.clear()
        self._shutdown = Shutdown(self._context, self._engine, self._stop_timeout, self.stop)
        self._shutdown.advance()

    def kill_all(self) -> None:
        if self._shutdown is not None:
            self._shutdown.skip_waiting()
        for program in self._context.programs.all:
            self._engine.kill(program.name)
        self._engine.kill_extra()
        self._sweeper.kill()

    def is_pending(self, name: str) -> bool:
        return name in self._pending

    def is_sweeping(self, name: str) -> bool:
        return self._sweeper.is_sweeping(name)

    def sweep_after(self, run: Run) -> None:
        """Stop the orphans of a run that was reaped."""
        self._sweeper.sweep(run.program.name)

    def rename_workers(self, shown: dict[str, str]) -> None:
        self._engine.rename(shown)

    def advance(self) -> Iterator[Run]:
        """At the end of a turn: sweep orphans, make the pending starts that can be made, and yield their runs."""
        if self._shutdown is not None:
            self._shutdown.advance()
            if self._shutdown.has_stopped_managed:
                self._sweeper.sweep(EVERYTHING)
        if self._sweeper.advance():
            self._context.waiters.note_change()
        for name in list(self._pending):
            if name in self._pending and self._is_free(self._pending[name].program):
                pending = self._pending.pop(name)
                yield self._launch(pending.program, pending.attempt)

    def has_stopped_everything(self) -> bool:
        """Return whether no program, managed or extra, and no orphan is left, but for those that cannot be killed."""
        runs = [self._context.service.current_run(program.name) for program in self._context.programs.all]
        is_running = any(run is not None and not run.kill_denied for run in runs)
        return not is_running and not self._engine.has_extra_running() and not self._sweeper.is_sweeping(EVERYTHING)

    def _is_free(self, program: Program) -> bool:
        # Without a shared listener, every other program on the address must be gone too.
        programs, holders = self._context.programs, [program.name]
        if not programs.shared:
            holders = [other.name for other in programs.on_the_address]
            if program.worker:
                for name in (ERROR_SERVER, STAND_IN):
                    self.stop(name)
        return not any(self._context.service.current_run(name) or self._sweeper.is_sweeping(name) for name in holders)

    def _launch(self, program: Program, attempt: int) -> Run:
        run = Run(program, attempt)
        own_listener: socket.socket | None = None
        try:
            if self._service_address.listener is None and not program.worker:
                own_listener = bind(self._service_address.address, self._service_address.backlog)
        except AddressError as error:
            run.spawn_error = str(error)
        else:
            listener = self._service_address.listener or own_listener
            self._engine.start(run, listener.fileno() if listener else None)
        finally:
            if own_listener is not None:
                with suppress(OSError):
                    own_listener.close()
        self._context.service.runs[program.name] = run
        return run


class Shutdown:
    """Stops programs by priority, the highest first; the next ones are stopped when these are gone.

    Managed programs have the priority of the model server. Usually all priorities are equal: all stop at once. The
    timeout until KILL is for all together.
    """

    def __init__(self, context: Context, engine: Engine, timeout: float, stop: Callable[[str, float], None]) -> None:
        self._context = context
        self._engine = engine
        self._names = [program.name for program in context.programs.all]
        self._deadline = context.now() + timeout
        self._stop = stop
        self._managed_priority = engine.priority_of(context.programs.workers[0].name)
        self._priorities_left = engine.begin_stopping()
        self._priority: int | None = None

    @property
    def has_stopped_managed(self) -> bool:
        return self._managed_priority not in self._priorities_left

    def skip_waiting(self) -> None:
        self._priorities_left = []

    def advance(self) -> None:
        while self._priorities_left and not self._is_running():
            self._priority, *self._priorities_left = self._priorities_left
            timeout = max(self._deadline - self._context.now(), 0.0)
            self._engine.stop_extra(self._priority, timeout)
            for name in self._names if self._priority == self._managed_priority else ():
                self._stop(name, timeout)

    def _is_running(self) -> bool:
        if self._priority is None:
            return False
        is_managed_left = self._priority == self._managed_priority and any(
            self._context.service.current_run(name) for name in self._names
        )
        return is_managed_left or self._engine.has_extra_running(self._priority)
