"""The programs in motion: which run, which are to follow when their predecessor is gone, what each was seen to do."""

import math
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from drum_supervisor.contract.exits import AddressError
from drum_supervisor.contract.listener import Address, bind
from drum_supervisor.resources.oom import KillCounters, MemoryWatch
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.failures.report import Evidence
from drum_supervisor.supervise.processes.shutdown import Shutdown
from drum_supervisor.supervise.processes.sweeper import EVERYTHING, Sweeper
from drum_supervisor.supervise.programs.program import ERROR_SERVER, STAND_IN, Program, Programs

RECENT = 30.0  # seconds: a kill from before that has nothing to do with the end of what was ready


@dataclass
class Seen:
    """What a run was seen to do.

    `settled`: its end was told to the policy, or was asked for; `abandoned`: what it still does no longer counts.
    """

    run: Run
    attempt: int
    stage: str = ""
    ready: bool = False
    settled: bool = False
    abandoned: bool = False
    memory: MemoryWatch | None = None

    @property
    def is_coming(self) -> bool:
        """Whether it may still become ready."""
        return self.is_there and not self.ready

    @property
    def is_there(self) -> bool:
        """Whether it runs, and nobody wants it to end."""
        return self.run.status is None and self.run.pid > 0 and not (self.settled or self.run.stop_asked)


@dataclass(frozen=True)
class _Waiting:
    """A start that waits for what is left of a predecessor, which is killed and gone `until` then."""

    program: Program
    attempt: int
    until: float


class Launcher:
    """Starts and stops the programs, each only when what is left of its predecessor is gone.

    With a shared listener all programs inherit it. Otherwise the model server binds the address itself, and the
    error server, which takes an inherited listener like the others, gets one that is bound just for it.

    Args:
        listener: the shared listener, None when the model server binds.
        stop_timeout: seconds between TERM and KILL.
        backlog: of a listener that is bound for the error server alone.
        on_start: called with each new run.
    """

    def __init__(
        self,
        engine: Engine,
        programs: Programs,
        address: Address,
        listener: socket.socket | None,
        timers: Timers,
        stop_timeout: float,
        backlog: int,
        on_start: Callable[[Seen], None],
    ) -> None:
        self._engine = engine
        self._programs = programs
        self._address = address
        self._listener = listener
        self._stop_timeout = stop_timeout
        self._backlog = backlog
        self._on_start = on_start
        self._timers = timers
        self._waiting: dict[str, _Waiting] = {}
        self._sweeper = Sweeper(engine.orphans, timers, stop_timeout)
        self._shutdown: Shutdown | None = None
        self.seen: dict[str, Seen] = {}
        self.memory = KillCounters(timers.clock)

    def start(self, program: Program, attempt: int = 1) -> None:
        """Start `program` as soon as it can be; one that runs already, and was not asked to stop, is left alone."""
        run = self._engine.run_of(program.name)
        if run is None or run.stop_asked:
            until = self._timers.clock() + 2 * self._stop_timeout  # TERM and KILL to it, and to what it left
            self._waiting[program.name] = _Waiting(program, attempt, until)

    def start_beside(self, program: Program, listener: socket.socket | None) -> Seen:
        """Start a program now that has nothing to do with the address; it may have a listener of its own."""
        run = self._engine.start(program, listener.fileno() if listener else None)
        self.seen[program.name] = seen = Seen(run, attempt=1)
        return seen

    def pids_of_workers(self) -> list[int]:
        """Return the processes of the workers that run."""
        runs = [self._engine.run_of(program.name) for program in self._programs.sides]
        return [run.pid for run in runs if run is not None]

    def seconds_to_wait(self) -> float:
        """Return in how many seconds all workers that are to be started have no predecessor any more, at the latest."""
        waiting = [each.until for each in self._waiting.values() if each.program.worker]
        return max(max(waiting, default=0.0) - self._timers.clock(), 0.0)

    def stop(self, name: str, timeout: float | None = None) -> None:
        """Stop a program and what belongs to it, in `timeout` seconds if that is not the usual time."""
        self._waiting.pop(name, None)
        if name in self.seen:
            self.seen[name].settled = self.seen[name].abandoned = True
        if self._engine.run_of(name) is not None:
            self._engine.stop(name, self._stop_timeout if timeout is None else timeout)

    def stop_all(self) -> None:
        """Stop everything, and start nothing any more."""
        self._waiting.clear()
        self._shutdown = Shutdown(self._engine, self._programs, self._timers, self._stop_timeout, self.stop)
        self._shutdown.turn()

    def kill_all(self) -> None:
        if self._shutdown is not None:
            self._shutdown.hurry()
        for program in self._programs.all:
            self._engine.kill(program.name)
        self._engine.kill_others()
        self._sweeper.kill()

    def is_waiting(self, name: str) -> bool:
        """Return whether a program is to be started as soon as it can be."""
        return name in self._waiting

    def is_sweeping(self, name: str) -> bool:
        """Return whether something is left of a program."""
        return self._sweeper.is_sweeping(name)

    def exited(self, run: Run) -> None:
        """A program was reaped: sweep up what it left."""
        self._sweeper.sweep(run.program.name)

    def turn(self) -> bool:
        """The end of a turn of the loop: see what is left of the dead, start what waited for that.

        Returns:
            Whether something is gone that was left.
        """
        if self._shutdown is not None:
            self._shutdown.turn()
            if self._shutdown.has_told_ours:
                self._sweeper.sweep(EVERYTHING)
        swept = self._sweeper.turn()
        for name in list(self._waiting):
            if name in self._waiting and self._is_free(self._waiting[name].program):
                waited = self._waiting.pop(name)
                self._launch(waited.program, waited.attempt)
        return swept

    def all_gone(self) -> bool:
        """Return whether no program, ours or the user's, and nothing that they started is left, after a turn.

        What cannot be killed is not waited for.
        """
        runs = [self._engine.run_of(program.name) for program in self._programs.all]
        ours = any(run is not None and not run.is_untouchable for run in runs)
        return not ours and not self._engine.others_left() and not self._sweeper.is_sweeping(EVERYTHING)

    def evidence(self, seen: Seen, now: float, wall: float) -> Evidence:
        """Return what was seen of a run so far; `now` is monotonic, `wall` since the epoch."""
        run = seen.run
        return Evidence(
            program=self._label(run.program),
            worker=run.program.place,
            pid=run.pid,
            started_at=run.started_at,
            failed_at=wall,
            seconds=now - run.started,
            attempt=seen.attempt,
            status=run.status,
            stage=seen.stage,
            stderr=run.tail.text(),
            stdout=run.output.text(),
            peak_memory_bytes=run.peak_memory_bytes,
            was_ready=seen.ready,
            spawn_error=run.spawn_error,
            out_of_memory=seen.memory.verdict(RECENT if seen.ready else math.inf) if seen.memory else None,
        )

    def _label(self, program: Program) -> str:
        name = program.group.replace("-", " ")
        return f"{name} (worker {program.place})" if len(self._programs.workers) > 1 and program.place else name

    def _is_free(self, program: Program) -> bool:
        """Whether the predecessor is gone and, where the address is not shared, whoever holds it is as well."""
        holders = [program.name]
        if not self._programs.shared:
            holders = [other.name for other in self._programs.on_the_address]
            if program.worker:
                for name in (ERROR_SERVER, STAND_IN):
                    self.stop(name)
        return not any(self._engine.run_of(name) or self._sweeper.is_sweeping(name) for name in holders)

    def _launch(self, program: Program, attempt: int) -> None:
        """Start `program` now."""
        own_listener: socket.socket | None = None
        try:
            if self._listener is None and not program.worker:
                own_listener = bind(self._address, self._backlog)
        except AddressError as error:
            run = Run(program, 0.0, 0.0, spawn_error=str(error))
        else:
            listener = self._listener or own_listener
            run = self._engine.start(program, listener.fileno() if listener else None)
        finally:
            if own_listener is not None:
                with suppress(OSError):
                    own_listener.close()
        memory = self.memory.watch(run.pid) if run.pid else None
        self.seen[program.name] = seen = Seen(run, attempt, memory=memory)
        self._on_start(seen)
