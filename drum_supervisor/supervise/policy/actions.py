"""The actions of the policy: what can be done about an event."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from drum_supervisor.contract.failure_report import FailureReport


class Alarm(str, Enum):
    """What the loop is asked to remind the policy of."""

    DEADLINE = "deadline"
    RETRY = "retry"
    END = "end"
    WORKER = "worker"
    ERROR_SERVER = "error-server"
    STAND_IN = "stand-in"


@dataclass(frozen=True)
class StartWorker:
    """Start a worker, after what is left of its predecessor is gone."""

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
    """Stop the error server."""


@dataclass(frozen=True)
class StartStandIn:
    """Start the stand-in unless it runs."""


@dataclass(frozen=True)
class StopStandIn:
    """Stop the stand-in."""


@dataclass(frozen=True)
class SaveReport:
    """Write the failure report down, where error server and operators find it."""

    report: FailureReport


@dataclass(frozen=True)
class SetAlarm:
    """Remind the policy in `after` seconds."""

    alarm: Alarm
    after: float
    worker: int = 0


@dataclass(frozen=True)
class CancelAlarm:
    """Forget a reminder, if there is one."""

    alarm: Alarm


@dataclass(frozen=True)
class StopAll:
    """Stop every program and its descendants."""


@dataclass(frozen=True)
class KillAll:
    """Kill every program and its descendants at once."""


@dataclass(frozen=True)
class Exit:
    """End the supervisor."""

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
