"""The actions of the policy: what the supervisor does about an event."""

from dataclasses import dataclass
from enum import Enum

from drum_supervisor.contract.failure_report import FailureReport


class Alarm(str, Enum):
    """The events that the policy schedules for itself."""

    DEADLINE = "deadline"
    RETRY = "retry"
    TTL = "ttl"
    WORKER = "worker"
    ERROR_SERVER = "error-server"
    STAND_IN = "stand-in"


@dataclass(frozen=True)
class Action:
    """An action; without fields of its own it needs no decorator, which would cost a start half a millisecond."""


@dataclass(frozen=True)
class WorkerAction(Action):
    """An action on one worker."""

    worker: int


class StartWorker(WorkerAction):
    """Start a worker once its predecessor and all descendants of it are gone."""


class StopWorker(WorkerAction):
    """Stop a worker and its descendants."""


@dataclass(frozen=True)
class StartErrorServer(Action):
    """Start the error server unless it runs; `plain`: with the front of the standard library."""

    plain: bool = False


class StopErrorServer(Action):
    pass


class StartStandIn(Action):
    """Start the stand-in unless it runs."""


class StopStandIn(Action):
    pass


@dataclass(frozen=True)
class SaveReport(Action):
    """Write the failure report to its file for the error server and for operators."""

    report: FailureReport


@dataclass(frozen=True)
class SetAlarm(Action):
    """Raise the event of an alarm in `after` seconds."""

    alarm: Alarm
    after: float
    worker: int = 0


@dataclass(frozen=True)
class CancelAlarm(Action):
    alarm: Alarm


class StopAll(Action):
    """Stop every program and its descendants."""


class KillAll(Action):
    """Kill every program and its descendants at once."""


@dataclass(frozen=True)
class Exit(Action):
    """End the supervisor with this exit code."""

    code: int
