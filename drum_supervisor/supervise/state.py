"""What the policy knows, and what it remembers from one event to the next."""

from dataclasses import dataclass

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure import FailureReport
from drum_supervisor.supervise.history import Phase


@dataclass(frozen=True)
class Limits:
    """The settings that the policy knows; durations in seconds."""

    workers: int = 1
    startup_timeout: float = 600.0
    error_server: bool = True
    ttl: float = 0.0
    max_retries: int = 0
    retry_interval: float = 10.0
    max_restarts: int = 5
    restart_window: float = 60.0
    stand_in: bool = False

    @property
    def all_workers(self) -> frozenset[int]:
        return frozenset(range(1, self.workers + 1))


@dataclass(frozen=True)
class State:
    """What the policy remembers.

    Attributes:
        ready: workers that answer.
        coming: workers that are starting, or will be started again without anybody asking.
        attempt: how often initialization was tried since the service was last ready, the present one included.
        retries: how many of these were retries that count against the limit.
        crashes: when ready workers died, or workers of their own were killed, within the window.
        crash_restarts, requested_restarts, retry_restarts: how often workers were started again, by cause.
        report: the last failure; None while there is none to tell: all workers are ready, or on their way.
        exit_code: what the supervisor will exit with, once it is stopping.
    """

    phase: Phase = Phase.STARTING
    ready: frozenset[int] = frozenset()
    coming: frozenset[int] = frozenset()
    attempt: int = 1
    retries: int = 0
    crashes: tuple[float, ...] = ()
    crash_restarts: int = 0
    requested_restarts: int = 0
    retry_restarts: int = 0
    report: FailureReport | None = None
    exit_code: int = ExitCode.STOPPED


def attempts_left(state: State, limits: Limits) -> int:
    """Return how many retries are still to come by themselves."""
    return max(limits.max_retries - state.retries, 0) if limits.error_server else 0
