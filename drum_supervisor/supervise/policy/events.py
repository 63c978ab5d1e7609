"""The events of the policy: what can happen to a supervised model server."""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.contract.failure_report import FailureReport


class RestartCause(str, Enum):
    """Why workers are replaced that could go on."""

    REQUEST = "request"
    MEMORY = "memory"
    REQUESTS = "requests"


@dataclass(frozen=True)
class Event:
    """Something happened `at` a time of the monotonic clock, in seconds."""

    at: float


@dataclass(frozen=True)
class SupervisorStarted(Event):
    """The supervisor is up and the listener is bound."""


@dataclass(frozen=True)
class WorkerReady(Event):
    """A worker answers requests."""

    worker: int = 1


@dataclass(frozen=True)
class WorkerInitFailed(Event):
    """A worker said that its initialization failed; its process may still be there."""

    report: FailureReport
    worker: int = 1


@dataclass(frozen=True)
class FailedProbation(Event):
    """A worker that counted as ready is not: of the processes that serve in it not all can be initialized."""

    report: FailureReport
    worker: int = 1


@dataclass(frozen=True)
class WorkerExited(Event):
    """A worker is gone, and nobody had asked it to go."""

    report: FailureReport
    worker: int = 1


@dataclass(frozen=True)
class LivenessFailed(Event):
    """The address answers no more, though workers were ready: nobody can tell which of them hangs."""

    report: FailureReport


@dataclass(frozen=True)
class OwnWorkerOomKilled(Event):
    """A worker goes on that has workers of its own, and one of these was killed for want of memory.

    It starts another one by itself, for ever.
    """

    report: FailureReport
    worker: int = 1


@dataclass(frozen=True)
class StartupTimedOut(Event):
    """The start-up deadline is over."""

    report: FailureReport


@dataclass(frozen=True)
class RetryDue(Event):
    """The time for the planned retry has come."""


@dataclass(frozen=True)
class WorkerRestartDue(Event):
    """The time to start a crashed worker again has come."""

    worker: int = 1


@dataclass(frozen=True)
class RestartRequested(Event):
    """The workers, or one of them, are to be replaced; `overlap`: the new one is ready before the old one stops."""

    worker: int | None = None
    overlap: bool = False
    cause: RestartCause = RestartCause.REQUEST


@dataclass(frozen=True)
class WorkerStopped(Event):
    """A worker that was asked to stop is gone."""

    worker: int = 1


@dataclass(frozen=True)
class StopWorkerRequested(Event):
    """An operator wants a worker to be stopped, and not started again until they say so."""

    worker: int = 1


@dataclass(frozen=True)
class StartWorkerRequested(Event):
    """An operator wants a worker to be started that is held, or was given up."""

    worker: int = 1


@dataclass(frozen=True)
class ErrorServerReady(Event):
    """The error server answers with the reason."""


@dataclass(frozen=True)
class ErrorServerExited(Event):
    """The error server is gone, and nobody had asked it to go.

    `was_ready` tells a crash from one that cannot even start; `plain` whether it was the plain one.
    """

    was_ready: bool = True
    plain: bool = False


@dataclass(frozen=True)
class ErrorServerRestartDue(Event):
    """The time to start the error server again has come."""


@dataclass(frozen=True)
class StandInExited(Event):
    """The stand-in is gone, and nobody had asked it to go; `was_ready` tells a crash from one that cannot start."""

    was_ready: bool = True


@dataclass(frozen=True)
class StandInRestartDue(Event):
    """The time to start the stand-in again has come."""


@dataclass(frozen=True)
class ErrorServerTtlExpired(Event):
    """The error was served for as long as it should be."""


@dataclass(frozen=True)
class EssentialProgramExited(Event):
    """A further program has ended for good that the supervisor does not outlive; `words` say it, `code` is its own."""

    code: int
    words: str


@dataclass(frozen=True)
class StopRequested(Event):
    """A signal or an operator wants the supervisor to end."""


@dataclass(frozen=True)
class AllStopped(Event):
    """No program and none of their descendants is left."""
