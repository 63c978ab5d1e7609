"""The programs of one supervisor: their names, their commands, how readiness is detected."""

from dataclasses import dataclass
from enum import Enum

MODEL_SERVER = "model-server"
ERROR_SERVER = "error-server"
STAND_IN = "stand-in"
EXPORTER = "exporter"
STANDBY_SUFFIX = "-next"  # of the name of a standby


class Readiness(str, Enum):
    """How the supervisor detects that the model server is ready."""

    REPORT = "report"
    HTTP = "http"
    PORT = "port"
    NOTIFY = "notify"


@dataclass(frozen=True)
class Program:
    """One process that the supervisor can run."""

    name: str
    group: str  # the common name of all workers
    argv: tuple[str, ...]  # a name without a slash is looked up in PATH
    worker: int = 0  # its number, from 1; standbys are numbered after all workers. 0: not a model server
    slot: int = 0  # which of `--workers` it is; a worker and its standby have the same
    environment: tuple[tuple[str, str], ...] = ()  # in addition to the supervisor's own
    # Whether LISTEN_FDS and LISTEN_PID announce an inherited listener. A command with {fd} knows it already, and
    # gunicorn fails if it gets the same descriptor in both ways: it takes it for two.
    announced: bool = True


@dataclass(frozen=True)
class Programs:
    """All programs that one supervisor may run."""

    workers: tuple[Program, ...]
    error_server: Program
    plain_error_server: Program
    stand_in: Program
    shared: bool  # the supervisor binds the address and its children inherit the listener; else the model server binds
    readiness: Readiness
    server_type: str  # in `status`: of the built-in model server, `drum`, or `command`
    built_in: bool = False  # third-party servers do not report the state of their own workers
    standbys: tuple[Program, ...] = ()  # of the workers, for restarts with overlap; empty where that is impossible
    exporter: Program | None = None  # None: no metrics are wanted

    @property
    def all_workers(self) -> tuple[Program, ...]:
        return (*self.workers, *self.standbys)

    @property
    def has_own_workers(self) -> bool:
        """Whether the model server starts processes of its own that serve."""
        return not self.built_in or self.server_type == "gunicorn"

    @property
    def on_the_address(self) -> tuple[Program, ...]:
        """The programs that serve the address in turn."""
        return (*self.all_workers, self.error_server, self.stand_in)

    @property
    def all(self) -> tuple[Program, ...]:
        return (*self.on_the_address, self.exporter) if self.exporter else self.on_the_address


def display_name(program: Program, serves: bool) -> str:
    """Return the name of a worker or standby for people: whichever serves has the plain one."""
    plain = program.name.removesuffix(STANDBY_SUFFIX)
    return plain if serves else plain + STANDBY_SUFFIX
