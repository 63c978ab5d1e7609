"""The error server and the stand-in, which answer in place of the model server. Pure, like all of the policy."""

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

ERROR_SERVER_RESTART_DELAY = 1.0
STAND_IN_RESTART_DELAY = 1.0


def error_server_ready(state: State, event: ErrorServerReady, limits: Limits) -> Decision:
    """Stop the stand-in, which has answered with the failure until now."""
    return replace(state, error_server_ready=True), [StopStandIn()] if limits.stand_in else []


def error_server_exited(state: State, event: ErrorServerExited, limits: Limits) -> Decision:
    """Replace an error server that cannot start by the plain one; restart one that crashed after a delay."""
    not_ready, actions = replace(state, error_server_ready=False), transitions.start_stand_in(limits)
    if event.was_ready or event.plain:
        return not_ready, [*actions, SetAlarm(Alarm.ERROR_SERVER, ERROR_SERVER_RESTART_DELAY)]
    return not_ready, [*actions, StartErrorServer(plain=True)]


def error_server_restart_due(state: State, event: ErrorServerRestartDue, limits: Limits) -> Decision:
    return state, [StartErrorServer()]


def stand_in_exited(state: State, event: StandInExited, limits: Limits) -> Decision:
    """Restart a stand-in that crashed after a delay. Without one that cannot start, connections wait."""
    is_needed = event.was_ready and not state.error_server_ready
    return state, [SetAlarm(Alarm.STAND_IN, STAND_IN_RESTART_DELAY)] if is_needed else []


def stand_in_restart_due(state: State, event: StandInRestartDue, limits: Limits) -> Decision:
    return state, [] if state.error_server_ready else transitions.start_stand_in(limits)
