"""The programs of one supervisor: what they are called, what runs, how readiness is known."""

from dataclasses import dataclass
from enum import Enum

MODEL_SERVER = "model-server"
ERROR_SERVER = "error-server"
STAND_IN = "stand-in"
EXPORTER = "exporter"
STANDBY_SUFFIX = "-next"  # what the name of a worker's other side ends in


class Readiness(str, Enum):
    """How the supervisor knows that the model server answers."""

    REPORT = "report"
    HTTP = "http"
    PORT = "port"
    NOTIFY = "notify"


@dataclass(frozen=True)
class Program:
    """One process that the supervisor can run.

    Attributes:
        name: as operators see it, unique.
        group: the name of all workers together.
        argv: the command; a name without a slash is looked up in PATH.
        worker: which worker, from 1; 0 for everything that is no model server. Successors with overlap have numbers of
            their own, after those of all workers.
        slot: of the worker: which of `--workers` it is, whoever came before it there.
        environment: variables that are set for it, on top of the supervisor's own.
        announced: whether an inherited listener is announced by LISTEN_FDS and LISTEN_PID. A command that has {fd}
            knows it already, and gunicorn takes a descriptor that it is told of twice for two, and fails.
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
    """All that one supervisor may run, and how it treats the model server.

    Attributes:
        standbys: the other side of each worker, for replacing it with overlap; none where that cannot be.
        shared: the supervisor binds the address and its children inherit the listener; else the model server binds.
        server_type: what `status` calls the model server: a built-in one, `drum`, or `command`.
        built_in: whether the model server is ours; others do not tell us how their workers fare.
        exporter: what offers the metrics, None where nobody wants them.
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
        """Both sides of all workers, by their numbers."""
        return (*self.workers, *self.standbys)

    @property
    def have_own_workers(self) -> bool:
        """Whether processes may serve that the model server has started by itself."""
        return not self.built_in or self.server_type == "gunicorn"

    @property
    def on_the_address(self) -> tuple[Program, ...]:
        """Those that take turns in serving it."""
        return (*self.all_workers, self.error_server, self.stand_in)

    @property
    def all(self) -> tuple[Program, ...]:
        return (*self.on_the_address, self.exporter) if self.exporter else self.on_the_address


def shown_name(program: Program, serves: bool) -> str:
    """Return the name of one side of a worker for people: the plain one for the side that serves."""
    plain = program.name.removesuffix(STANDBY_SUFFIX)
    return plain if serves else plain + STANDBY_SUFFIX
