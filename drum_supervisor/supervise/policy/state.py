"""What the policy knows, and what it remembers from one event to the next."""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport


class Phase(str, Enum):
    """Where the service stands."""

    STARTING = "starting"
    SERVING = "serving"
    FAILED = "failed"
    RETRYING = "retrying"
    STOPPING = "stopping"


@dataclass(frozen=True)
class Limits:
    """The settings that the policy knows; durations in seconds."""

    workers: int = 1
    startup_timeout: float = 600.0
    error_server: bool = True
    ttl: float = 0.0
    max_retries: int = 0
    retry_interval: float = 10.0
    retry_permanent: bool = False
    max_restarts: int = 5
    restart_window: float = 60.0
    stand_in: bool = False

    @property
    def slots(self) -> frozenset[int]:
        return frozenset(range(1, self.workers + 1))


@dataclass(frozen=True)
class RollingRestart:
    """Workers that are replaced while the service is up, one after the other.

    Attributes:
        due: the places that are yet to come, in order.
        overlap: the successor is ready before the one before it stops.
        new: the successor that is starting; 0: none.
        old: the one before it, which serves until then and stops afterwards; 0: there is none, or it went first.
    """

    due: tuple[int, ...] = ()
    overlap: bool = False
    new: int = 0
    old: int = 0

    @property
    def is_busy(self) -> bool:
        return bool(self.new or self.old)

    @property
    def left(self) -> int:
        """How many places are not through yet."""
        return len(self.due) + self.is_busy


@dataclass(frozen=True)
class State:
    """What the policy remembers.

    Attributes:
        ready: workers that answer.
        starting: workers that are starting, or will be started again without anybody asking.
        swapped: the places where the other side serves, after a replacement with overlap.
        rolling_restart: the replacement that is under way.
        restart_failure: why the last replacement ended early; None if it did not.
        stopped_by_operator: the places whose worker an operator has stopped, and that nobody else fills.
        attempt: how often initialization was tried since the service was last ready, the present one included.
        retries: how many of these were retries that count against the limit.
        crashes: when ready workers died, or workers of their own were killed, within the window.
        crash_restarts, requested_restarts, retry_restarts, memory_limit_restarts, request_limit_restarts: counts of
            restarts, by cause.
        error_server_ready: whether the error server answers with the reason.
        report: the last failure; None while there is none to tell: all workers are ready, or on their way.
        exit_code: what the supervisor will exit with, once it is stopping.
        ended_by: what ended it, if that was neither a request nor a model server, in words.
    """

    phase: Phase = Phase.STARTING
    ready: frozenset[int] = frozenset()
    starting: frozenset[int] = frozenset()
    stopped_by_operator: frozenset[int] = frozenset()
    attempt: int = 1
    retries: int = 0
    crashes: tuple[float, ...] = ()
    crash_restarts: int = 0
    requested_restarts: int = 0
    retry_restarts: int = 0
    memory_limit_restarts: int = 0
    request_limit_restarts: int = 0
    swapped: frozenset[int] = frozenset()
    rolling_restart: RollingRestart | None = None
    restart_failure: FailureReport | None = None
    error_server_ready: bool = False
    report: FailureReport | None = None
    exit_code: int = ExitCode.STOPPED
    ended_by: str = ""


def wanted_workers(state: State, limits: Limits) -> frozenset[int]:
    """Return the workers that serve, or should."""
    return frozenset(worker_in(place, state, limits) for place in limits.slots - state.stopped_by_operator)


def current_workers(state: State, limits: Limits) -> frozenset[int]:
    """Return the workers that serve, or should, or would if they were not held."""
    return frozenset(worker_in(place, state, limits) for place in limits.slots)


def worker_in(place: int, state: State, limits: Limits) -> int:
    """Return the worker that serves in a place, or should."""
    return place + limits.workers if place in state.swapped else place


def slot_of(worker: int, limits: Limits) -> int:
    """Return the place of a worker, whichever side it is."""
    return worker - limits.workers if worker > limits.workers else worker


def attempts_left(state: State, limits: Limits) -> int:
    """Return how many retries are still to come by themselves."""
    if not limits.error_server or is_refused(state, limits) or state.stopped_by_operator == limits.slots:
        return 0
    return max(limits.max_retries - state.retries, 0)


def is_refused(state: State, limits: Limits) -> bool:
    """Return whether there is no retry because this failure would only come again."""
    permanent = state.report is not None and state.report.permanent
    return permanent and state.phase is Phase.FAILED and not limits.retry_permanent


def possibly_running(state: State, limits: Limits) -> frozenset[int]:
    """Return the workers that may run: those that serve or should, and the other sides of a replacement."""
    others = {state.rolling_restart.new, state.rolling_restart.old} - {0} if state.rolling_restart else frozenset[int]()
    return wanted_workers(state, limits) | others
