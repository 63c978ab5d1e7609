"""Those that answer in the model server's place: error server and stand-in. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise.policy import transitions
from drum_supervisor.supervise.policy.actions import Alarm, SetAlarm, StartErrorServer, StopStandIn
from drum_supervisor.supervise.policy.events import (
    ErrorServerExited,
    ErrorServerReady,
    ErrorServerRestartDue,
    StandInExited,
    StandInRestartDue,
)
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.transitions import Decision

ERROR_SERVER_DELAY = 1.0
STAND_IN_DELAY = 1.0


def error_server_ready(state: State, event: ErrorServerReady, limits: Limits) -> Decision:
    """Only now the stand-in may go: until then it has answered with the reason."""
    return replace(state, error_server_ready=True), [StopStandIn()] if limits.stand_in else []


def error_server_exited(state: State, event: ErrorServerExited, limits: Limits) -> Decision:
    """One that cannot start is replaced by the plain one; one that crashed is started again after a moment."""
    unexplained, actions = replace(state, error_server_ready=False), transitions.stand_in(limits)
    if event.was_ready or event.plain:
        return unexplained, [*actions, SetAlarm(Alarm.ERROR_SERVER, ERROR_SERVER_DELAY)]
    return unexplained, [*actions, StartErrorServer(plain=True)]


def error_server_due(state: State, event: ErrorServerRestartDue, limits: Limits) -> Decision:
    return state, [StartErrorServer()]


def stand_in_exited(state: State, event: StandInExited, limits: Limits) -> Decision:
    """One that crashed is started again after a moment; one that cannot start is done without: connections wait."""
    return state, [SetAlarm(Alarm.STAND_IN, STAND_IN_DELAY)] if event.was_ready and not state.error_server_ready else []


def stand_in_due(state: State, event: StandInRestartDue, limits: Limits) -> Decision:
    return state, [] if state.error_server_ready else transitions.stand_in(limits)
