"""What the policy knows, and what it remembers from one event to the next."""

from dataclasses import dataclass

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.phase import Phase


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
    """A rolling restart: workers are replaced one after another while the service is up."""

    pending: tuple[int, ...] = ()  # slots that are still to be restarted, in order
    overlap: bool = False  # each successor must be ready before its predecessor stops
    successor: int = 0  # the new worker, while it starts; 0: none
    predecessor: int = 0  # the old worker, until it has stopped; 0: none, or it was stopped first

    @property
    def is_busy(self) -> bool:
        return bool(self.successor or self.predecessor)

    @property
    def remaining(self) -> int:
        """The number of slots that are not done, the current one included."""
        return len(self.pending) + self.is_busy


@dataclass(frozen=True)
class State:
    """What the policy remembers. Workers and slots are numbers."""

    phase: Phase = Phase.STARTING
    ready: frozenset[int] = frozenset()  # workers that answer requests
    starting: frozenset[int] = frozenset()  # workers that start now, or after their scheduled restart
    stopped_by_operator: frozenset[int] = frozenset()  # slots
    attempt: int = 1  # to initialize, since the service was last ready
    retries: int = 0  # attempts that count against the limit
    crashes: tuple[float, ...] = ()  # times of crashes and OOM kills within the restart window
    crash_restarts: int = 0
    requested_restarts: int = 0
    retry_restarts: int = 0
    memory_limit_restarts: int = 0
    request_limit_restarts: int = 0
    swapped: frozenset[int] = frozenset()  # slots where the standby serves, after a rolling restart with overlap
    rolling_restart: RollingRestart | None = None
    restart_failure: FailureReport | None = None  # why the last rolling restart was aborted
    error_server_ready: bool = False
    report: FailureReport | None = None  # the last failure, until all workers are ready or starting
    exit_code: int = ExitCode.STOPPED
    exit_reason: str = ""  # if it stops neither on request nor because of the model server


def wanted_workers(state: State, limits: Limits) -> frozenset[int]:
    """Return the workers that should serve."""
    return frozenset(worker_in(slot, state, limits) for slot in limits.slots - state.stopped_by_operator)


def current_workers(state: State, limits: Limits) -> frozenset[int]:
    """Return the worker of each slot, also of those that an operator has stopped."""
    return frozenset(worker_in(slot, state, limits) for slot in limits.slots)


def worker_in(slot: int, state: State, limits: Limits) -> int:
    """Return the number of the worker that should serve in a slot."""
    return slot + limits.workers if slot in state.swapped else slot


def slot_of(worker: int, limits: Limits) -> int:
    """Return the slot of a worker or of its standby."""
    return worker - limits.workers if worker > limits.workers else worker


def attempts_left(state: State, limits: Limits) -> int:
    """Return the number of automatic retries that are left."""
    if not limits.error_server or is_retry_refused(state, limits) or state.stopped_by_operator == limits.slots:
        return 0
    return max(limits.max_retries - state.retries, 0)


def is_retry_refused(state: State, limits: Limits) -> bool:
    """Return whether the failure is permanent and therefore not retried."""
    permanent = state.report is not None and state.report.permanent
    return permanent and state.phase is Phase.FAILED and not limits.retry_permanent


def possibly_running(state: State, limits: Limits) -> frozenset[int]:
    """Return the workers that may run: those that should serve, and both sides of a replacement."""
    rolling = state.rolling_restart
    replaced = {rolling.successor, rolling.predecessor} - {0} if rolling else frozenset[int]()
    return wanted_workers(state, limits) | replaced
