"""The actions of the policy: what the supervisor does about an event."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

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
class StartWorker:
    """Start a worker once its predecessor and all descendants of it are gone."""

    worker: int


@dataclass(frozen=True)
class StopWorker:
    """Stop a worker and its descendants."""

    worker: int


@dataclass(frozen=True)
class StartErrorServer:
    """Start the error server unless it runs; `plain`: with the front of the standard library."""

    plain: bool = False


@dataclass(frozen=True)
class StopErrorServer:
    pass


@dataclass(frozen=True)
class StartStandIn:
    """Start the stand-in unless it runs."""


@dataclass(frozen=True)
class StopStandIn:
    pass


@dataclass(frozen=True)
class SaveReport:
    """Write the failure report to its file for the error server and for operators."""

    report: FailureReport


@dataclass(frozen=True)
class SetAlarm:
    """Raise the event of an alarm in `after` seconds."""

    alarm: Alarm
    after: float
    worker: int = 0


@dataclass(frozen=True)
class CancelAlarm:
    alarm: Alarm


@dataclass(frozen=True)
class StopAll:
    """Stop every program and its descendants."""


@dataclass(frozen=True)
class KillAll:
    """Kill every program and its descendants at once."""


@dataclass(frozen=True)
class Exit:
    """End the supervisor with this exit code."""

    code: int


Action: TypeAlias = (
    StartWorker
    | StopWorker
    | StartErrorServer
    | StopErrorServer
    | StartStandIn
    | StopStandIn
    | SaveReport
    | SetAlarm
    | CancelAlarm
    | StopAll
    | KillAll
    | Exit
)
