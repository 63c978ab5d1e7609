"""What runs, and who is told about it: the words between the engine and its owner."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from drum_supervisor.supervise.output.tail import Tail
from drum_supervisor.supervise.programs.program import Program


@dataclass(eq=False)
class Run:
    """One run of a program, from its start to its end.

    Attributes:
        pid: 0 when it could not be started; `spawn_error` says why.
        started_at: seconds since the epoch.
        started: seconds of the monotonic clock.
        stderr_tail, stdout_tail: the end of each stream.
        stop_requested: whether we asked it to stop.
        is_untouchable: whether even KILL is not permitted for it.
        status: its wait status as from wait(2), None while it is alive.
        peak_memory_bytes: known when it is dead.
        cpu_seconds: of it and of the children that it has waited for; known when it is dead.
    """

    program: Program
    started_at: float
    started: float
    pid: int = 0
    stderr_tail: Tail = field(default_factory=Tail)
    stdout_tail: Tail = field(default_factory=Tail)
    stop_requested: bool = False
    kill_denied: bool = False
    status: int | None = None
    peak_memory_bytes: int | None = None
    cpu_seconds: float = 0.0
    spawn_error: str = ""

    @property
    def label(self) -> str:
        """What log lines call it: `model-server (pid 4240)`."""
        return f"{self.program.name} (pid {self.pid})"


@dataclass(frozen=True)
class ExtraProgram:
    """A program of the user's configuration, which supervisord manages by itself.

    Attributes:
        state: supervisord's word for it, in lower case.
        started_at: seconds since the epoch, 0 when it never ran.
    """

    name: str
    group: str
    pid: int
    state: str
    started_at: float


@dataclass(frozen=True)
class ExtraProgramExit:
    """The end of a program of the user's configuration.

    Attributes:
        program: the name in its section.
        pid: 0 when it could not even be started.
        status: its wait status as from wait(2); None when it could not be started.
        why: what supervisord says about that.
        stop_requested: whether it was asked to stop.
    """

    name: str
    program: str
    pid: int
    status: int | None
    why: str = ""
    stop_requested: bool = False


class ProgramState(Enum):
    """How a program stands, in supervisord's words; RUNNING is who is ready."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    FATAL = "fatal"


@dataclass(frozen=True)
class ControlState:
    """How a program stands, and why it does not run, if that is to be told."""

    state: ProgramState
    why: str = ""


class Dispatcher(Protocol):
    """What the loop polls, by descriptor; supervisord's own dispatchers look the same."""

    fd: int
    closed: bool

    def readable(self) -> bool: ...

    def writable(self) -> bool: ...

    def handle_read_event(self) -> None: ...

    def handle_write_event(self) -> None: ...

    def handle_error(self) -> None: ...


class EngineCallbacks(Protocol):
    """Who decides; every call comes from the loop's thread, and each may call the engine back."""

    def on_begin(self) -> object:
        """The engine runs: control socket open, signals handled."""

    def on_signal(self, number: int) -> None:
        """TERM, INT, QUIT, HUP or USR2 arrived."""

    def on_line(self, run: Run, line: bytes) -> None:
        """A program wrote a line to its report pipe."""

    def on_exit(self, run: Run) -> None:
        """A program was reaped; `run.status` is set. Descendants may be left."""

    def on_turn(self) -> None:
        """A turn of the loop is over: nothing is half done, programs may be started."""

    def next_wakeup(self) -> float:
        """Return in how many seconds the next turn is wanted."""


class ProgramControl(Protocol):
    """Where requests arrive that operators make over supervisord's own interface, and news of their programs."""

    def start(self, program: Program) -> str:
        """Have it started, later; return why not, or ""."""

    def stop(self, program: Program) -> str:
        """Have it stopped, later; return why not, or ""."""

    def is_worker(self, program: Program) -> bool:
        """Return whether it can be started and stopped: all others come and go by themselves."""

    def control_state(self, program: Program) -> ControlState:
        """Return how it stands."""

    def on_extra_changed(self) -> None:
        """A program of the user's configuration stands differently now."""

    def on_extra_started(self, name: str, pid: int) -> None:
        """A program of the user's configuration was started."""

    def on_extra_exited(self, ended: ExtraProgramExit) -> None:
        """A program of the user's configuration was reaped; it may be started again."""

    def on_extra_gave_up(self, ended: ExtraProgramExit) -> None:
        """A program of the user's configuration has ended for good."""
