"""The records and protocols between the engine and its callers."""

import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from drum_supervisor.supervise.output.tail import Tail
from drum_supervisor.supervise.programs.program import Program


@dataclass(eq=False)
class Run:
    """One run of a managed program, from its start to its exit, with what was observed of it."""

    program: Program
    attempt: int = 1  # the number of the attempt to initialize the model server
    started_at: float = field(default_factory=time.time)  # seconds since the epoch
    started: float = field(default_factory=time.monotonic)  # seconds of the monotonic clock
    pid: int = 0  # stays 0 if it could not be started: see `spawn_error`
    spawn_error: str = ""
    is_command_unusable: bool = False  # it cannot be executed, which is the spawn error; otherwise the fork failed
    stderr_tail: Tail = field(default_factory=Tail)
    stdout_tail: Tail = field(default_factory=Tail)
    stage: str = ""  # of initialization, as last reported
    ready: bool = False
    outcome_reported: bool = False  # the policy knows that its start failed or that it ended, or a stop was requested
    stale: bool = False  # it was replaced or stopped: events about it are void
    stop_requested: bool = False
    kill_denied: bool = False  # even KILL was not permitted
    status: int | None = None  # the wait status as from wait(2); None while it runs
    peak_memory_bytes: int | None = None  # known once it was reaped
    cpu_seconds: float = 0.0  # of it and of the children it has reaped; known once it was reaped

    @property
    def is_alive(self) -> bool:
        """Whether its process was started, and has not been reaped."""
        return self.pid > 0 and self.status is None

    @property
    def is_running(self) -> bool:
        """Whether it is alive, has not failed, and is not being stopped."""
        return self.is_alive and not (self.outcome_reported or self.stop_requested)

    @property
    def is_starting(self) -> bool:
        return self.is_running and not self.ready

    @property
    def state(self) -> str:
        """The state that operators see; running and ready are kept apart."""
        if self.stop_requested:
            return "stopping"
        return "ready" if self.ready else "starting"

    @property
    def label(self) -> str:
        """The name in log lines: `model-server (pid 4240)`."""
        return f"{self.program.name} (pid {self.pid})"


@dataclass(frozen=True)
class ExtraProgram:
    """A program of the user's configuration, managed by supervisord."""

    name: str
    group: str
    pid: int
    state: str  # supervisord's word, in lower case
    started_at: float  # seconds since the epoch; 0 if it never ran


@dataclass(frozen=True)
class ExtraProgramExit:
    name: str
    program: str  # the name of its section
    pid: int  # 0 if it could not be started
    status: int | None  # the wait status as from wait(2); None if it could not be started
    spawn_error: str = ""
    stop_requested: bool = False


class ProgramState(Enum):
    """The state of a managed program in supervisord's words; RUNNING means ready."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FATAL = "fatal"


@dataclass(frozen=True)
class ControlState:
    """The state of a program as operators see it, with the reason if it is not running."""

    state: ProgramState
    reason: str = ""


class Dispatcher(Protocol):
    """A descriptor that the loop polls; supervisord's own dispatchers have the same interface."""

    fd: int
    closed: bool

    def readable(self) -> bool: ...

    def writable(self) -> bool: ...

    def handle_read_event(self) -> None: ...

    def handle_write_event(self) -> None: ...

    def handle_error(self) -> None: ...


class EngineCallbacks(Protocol):
    """Called by the engine, in the loop's thread; each callback may call the engine."""

    def on_begin(self) -> object: ...  # the control socket is open, signals are handled

    def on_signal(self, number: int) -> None: ...  # TERM, INT, QUIT, HUP or USR2

    def on_line(self, run: Run, line: bytes) -> None: ...  # of the report pipe

    def on_exit(self, run: Run) -> None: ...  # it was reaped, and `run.status` is set; descendants may be left

    def on_turn(self) -> None: ...  # the end of a turn: nothing is half done, and programs may be started

    def next_wakeup(self) -> float: ...  # seconds until the next turn is needed


class ProgramControl(Protocol):
    """Handles requests over supervisord's own interface, and the events of extra programs."""

    def start(self, program: Program) -> str:
        """Request a start; return why it was refused, or ""."""

    def stop(self, program: Program) -> str:
        """Request a stop; return why it was refused, or ""."""

    def is_worker(self, program: Program) -> bool: ...  # operators can start and stop workers alone

    def control_state(self, program: Program) -> ControlState: ...

    def on_extra_changed(self) -> None: ...

    def on_extra_started(self, name: str, pid: int) -> None: ...

    def on_extra_exited(self, program_exit: ExtraProgramExit) -> None: ...  # supervisord may restart it

    def on_extra_gave_up(self, program_exit: ExtraProgramExit) -> None: ...  # it will not be restarted
