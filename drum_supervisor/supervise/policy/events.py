"""The events of the policy: what can happen to a supervised model server."""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.contract.failure_report import FailureReport


class RestartCause(str, Enum):
    """Why a running worker is replaced."""

    REQUEST = "request"
    MEMORY_LIMIT = "memory"
    REQUEST_LIMIT = "requests"


@dataclass(frozen=True)
class Event:
    """An event `at` a time of the monotonic clock, in seconds."""

    at: float


@dataclass(frozen=True)
class WorkerEvent(Event):
    """An event of one worker."""

    worker: int = 1


@dataclass(frozen=True)
class WorkerFailure(Event):
    """The failure of one worker."""

    report: FailureReport
    worker: int = 1


class SupervisorStarted(Event):
    """The supervisor is up and the listener is bound."""


class WorkerReady(WorkerEvent):
    """A worker answers requests."""


class WorkerInitFailed(WorkerFailure):
    """A worker reported that its initialization failed; its process may still run."""


class FailedProbation(WorkerFailure):
    """A worker that answered lost one of its own workers during probation: not all of them can be initialized."""


class WorkerExited(WorkerFailure):
    """A worker exited although the supervisor had not stopped it."""


@dataclass(frozen=True)
class LivenessFailed(Event):
    """Liveness probes failed although workers were ready. It is not known which of them hangs."""

    report: FailureReport


@dataclass(frozen=True)
class OwnWorkerOomKilled(Event):
    """A model server's own worker was OOM-killed. The model server runs on and replaces it, without any limit."""

    report: FailureReport
    worker: int = 1


@dataclass(frozen=True)
class StartupTimedOut(Event):
    """The start-up deadline has passed."""

    report: FailureReport


class RetryDue(Event):
    """The scheduled retry is due."""


class WorkerRestartDue(WorkerEvent):
    """The scheduled restart of a crashed worker is due."""


@dataclass(frozen=True)
class RestartRequested(Event):
    """A restart of all workers, or of one, was requested; `overlap`: the new one is ready before the old one stops."""

    worker: int | None = None
    overlap: bool = False
    cause: RestartCause = RestartCause.REQUEST


class WorkerStopped(WorkerEvent):
    """A worker that the supervisor stopped has exited."""


class StopWorkerRequested(WorkerEvent):
    """An operator stops a worker until they start it again."""


class StartWorkerRequested(WorkerEvent):
    """An operator starts a worker that they stopped, or that was given up."""


class ErrorServerReady(Event):
    """The error server answers requests with the failure."""


@dataclass(frozen=True)
class ErrorServerExited(Event):
    """The error server exited although the supervisor had not stopped it.

    Attributes:
        was_ready: false: it cannot start.
        plain: it was the plain one.
    """

    was_ready: bool = True
    plain: bool = False


class ErrorServerRestartDue(Event):
    """The scheduled restart of the error server is due."""


@dataclass(frozen=True)
class StandInExited(Event):
    """The stand-in exited although the supervisor had not stopped it; not `was_ready`: it cannot start."""

    was_ready: bool = True


class StandInRestartDue(Event):
    """The scheduled restart of the stand-in is due."""


class ErrorServerTtlExpired(Event):
    """The error server has run for its whole time to live."""


@dataclass(frozen=True)
class EssentialProgramExited(Event):
    """An essential extra program has ended for good, which ends the supervisor with `code` and this `reason`."""

    code: int
    reason: str


class StopRequested(Event):
    """A signal or an operator stops the supervisor."""


class AllStopped(Event):
    """All programs and their descendants are gone."""
