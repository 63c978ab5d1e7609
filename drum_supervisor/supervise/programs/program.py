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
    """One process that the supervisor can run.

    Attributes:
        name: unique, as shown to operators.
        group: the common name of all workers.
        argv: the command; a name without a slash is looked up in PATH.
        worker: the number of a worker, from 1; standbys are numbered after all workers. 0: not a model server.
        slot: which of `--workers` it is; a worker and its standby have the same.
        environment: variables in addition to the supervisor's own.
        announced: whether LISTEN_FDS and LISTEN_PID announce an inherited listener. A command with {fd} knows it
            already, and gunicorn fails if it gets the same descriptor in both ways: it takes it for two.
    """

    name: str
    group: str
    argv: tuple[str, ...]
    worker: int = 0
    slot: int = 0
    environment: tuple[tuple[str, str], ...] = ()
    announced: bool = True


@dataclass(frozen=True)
class Programs:
    """All programs that one supervisor may run.

    Attributes:
        standbys: the successors of the workers in a rolling restart with overlap; empty where overlap is impossible.
        shared: the supervisor binds the address and its children inherit the listener; else the model server binds it.
        server_type: what `status` calls the model server: a built-in one, `drum`, or `command`.
        built_in: whether the model server is ours; third-party servers do not report the state of their own workers.
        exporter: serves or sends the metrics; None: no metrics are wanted.
    """

    workers: tuple[Program, ...]
    error_server: Program
    plain_error_server: Program
    stand_in: Program
    shared: bool
    readiness: Readiness
    server_type: str
    built_in: bool = False
    standbys: tuple[Program, ...] = ()
    exporter: Program | None = None

    @property
    def all_workers(self) -> tuple[Program, ...]:
        """All workers and standbys, by their numbers."""
        return (*self.workers, *self.standbys)

    @property
    def has_own_workers(self) -> bool:
        """Whether the model server starts processes of its own that serve."""
        return not self.built_in or self.server_type == "gunicorn"

    @property
    def on_the_address(self) -> tuple[Program, ...]:
        """The programs that take turns in serving the address."""
        return (*self.all_workers, self.error_server, self.stand_in)

    @property
    def all(self) -> tuple[Program, ...]:
        return (*self.on_the_address, self.exporter) if self.exporter else self.on_the_address


def display_name(program: Program, serves: bool) -> str:
    """Return the name of a worker or standby for people: whichever serves has the plain one."""
    plain = program.name.removesuffix(STANDBY_SUFFIX)
    return plain if serves else plain + STANDBY_SUFFIX
