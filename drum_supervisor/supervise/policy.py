"""The policy: what to do about each event in each phase. Pure: no clock, no I/O, time arrives in the event.

`decide` is the whole interface. Its table is rendered into docs/policy.md and held there by a test.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drum_supervisor.supervise import decisions
from drum_supervisor.supervise.decisions import Decision
from drum_supervisor.supervise.history import (
    AllStopped,
    Begun,
    DeadlinePassed,
    ErrorServerDue,
    ErrorServerExited,
    ErrorServerReady,
    EssentialEnded,
    Event,
    Exited,
    Gone,
    HoldRequested,
    InitFailed,
    Phase,
    Ready,
    ReadyTooSoon,
    RestartRequested,
    RetryDue,
    StandInDue,
    StandInExited,
    StartRequested,
    StopRequested,
    TtlOver,
    Unresponsive,
    WorkerDue,
    WorkerKilled,
)
from drum_supervisor.supervise.state import Limits, State


def decide(state: State, event: Event, limits: Limits) -> Decision:
    """Return the next state and the actions, in the order in which they are to be carried out.

    What a worker does that was given up, is held, or has a successor, is no news.
    """
    if isinstance(event, _ENDS) and event.worker not in state.ready | state.coming:
        return state, []
    return _TABLE[state.phase][type(event)](state, event, limits)


_ENDS = (InitFailed, ReadyTooSoon, Exited)


_Row: TypeAlias = dict[type[Event], Callable[[State, Any, Limits], Decision]]

_EVERYWHERE: _Row = {
    Begun: decisions.nothing,
    Ready: decisions.nothing,
    InitFailed: decisions.nothing,
    ReadyTooSoon: decisions.nothing,
    Exited: decisions.nothing,
    Unresponsive: decisions.nothing,
    DeadlinePassed: decisions.nothing,
    RetryDue: decisions.nothing,
    WorkerDue: decisions.nothing,
    WorkerKilled: decisions.nothing,
    RestartRequested: decisions.nothing,
    Gone: decisions.nothing,
    ErrorServerReady: decisions.nothing,
    HoldRequested: decisions.nothing,
    StartRequested: decisions.nothing,
    ErrorServerExited: decisions.nothing,
    ErrorServerDue: decisions.nothing,
    StandInExited: decisions.nothing,
    StandInDue: decisions.nothing,
    TtlOver: decisions.nothing,
    EssentialEnded: decisions.essential_ended,
    StopRequested: decisions.stop_requested,
    AllStopped: decisions.nothing,
}

_ERROR_SERVER: _Row = {
    ErrorServerReady: decisions.error_server_ready,
    ErrorServerExited: decisions.error_server_exited,
    ErrorServerDue: decisions.error_server_due,
    StandInExited: decisions.stand_in_exited,
    StandInDue: decisions.stand_in_due,
    TtlOver: decisions.ttl_over,
}

_TABLE: Mapping[Phase, _Row] = {
    Phase.STARTING: _EVERYWHERE
    | {
        Begun: decisions.begin,
        Ready: decisions.ready_first,
        InitFailed: decisions.init_lost,
        ReadyTooSoon: decisions.init_lost,
        Exited: decisions.init_lost,
        DeadlinePassed: decisions.too_late,
        WorkerDue: decisions.restart_worker,
        RestartRequested: decisions.replace_workers,
        Gone: decisions.worker_gone,
        StandInExited: decisions.stand_in_exited,
        StandInDue: decisions.stand_in_due,
        HoldRequested: decisions.hold,
        StartRequested: decisions.start_requested,
    },
    Phase.SERVING: _EVERYWHERE
    | {
        Ready: decisions.ready_more,
        InitFailed: decisions.crashed,
        ReadyTooSoon: decisions.ready_too_soon,
        Exited: decisions.crashed,
        Unresponsive: decisions.unresponsive,
        WorkerKilled: decisions.killed_below,
        DeadlinePassed: decisions.some_too_late,
        WorkerDue: decisions.restart_worker,
        RestartRequested: decisions.replace_serving,
        Gone: decisions.worker_gone,
        HoldRequested: decisions.hold,
        StartRequested: decisions.start_requested,
    },
    Phase.FAILED: _EVERYWHERE
    | _ERROR_SERVER
    | {
        RetryDue: decisions.retry_due,
        RestartRequested: decisions.retry_requested,
        StartRequested: decisions.retry_requested,
    },
    Phase.RETRYING: _EVERYWHERE
    | _ERROR_SERVER
    | {
        Ready: decisions.ready_first,
        InitFailed: decisions.init_lost,
        ReadyTooSoon: decisions.init_lost,
        Exited: decisions.init_lost,
        DeadlinePassed: decisions.too_late,
        RestartRequested: decisions.replace_workers,
        HoldRequested: decisions.hold,
        StartRequested: decisions.start_requested,
    },
    Phase.STOPPING: _EVERYWHERE
    | {EssentialEnded: decisions.nothing, StopRequested: decisions.kill, AllStopped: decisions.end},
}
