"""The policy: what to do about each event in each phase. Pure: no clock, no I/O, time arrives in the event.

A cell of its table is a small function, in the module for its subject.

`decide` is the whole interface. Its table is rendered into docs/policy.md and held there by a test.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drum_supervisor.supervise.policy import crashes, fallbacks, operator_requests, startup, transitions
from drum_supervisor.supervise.policy.events import (
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
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.transitions import Decision


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
    Begun: transitions.nothing,
    Ready: transitions.nothing,
    InitFailed: transitions.nothing,
    ReadyTooSoon: transitions.nothing,
    Exited: transitions.nothing,
    Unresponsive: transitions.nothing,
    DeadlinePassed: transitions.nothing,
    RetryDue: transitions.nothing,
    WorkerDue: transitions.nothing,
    WorkerKilled: transitions.nothing,
    RestartRequested: transitions.nothing,
    Gone: transitions.nothing,
    ErrorServerReady: transitions.nothing,
    HoldRequested: transitions.nothing,
    StartRequested: transitions.nothing,
    ErrorServerExited: transitions.nothing,
    ErrorServerDue: transitions.nothing,
    StandInExited: transitions.nothing,
    StandInDue: transitions.nothing,
    TtlOver: transitions.nothing,
    EssentialEnded: transitions.essential_ended,
    StopRequested: transitions.stop_requested,
    AllStopped: transitions.nothing,
}

_ERROR_SERVER: _Row = {
    ErrorServerReady: fallbacks.error_server_ready,
    ErrorServerExited: fallbacks.error_server_exited,
    ErrorServerDue: fallbacks.error_server_due,
    StandInExited: fallbacks.stand_in_exited,
    StandInDue: fallbacks.stand_in_due,
    TtlOver: transitions.ttl_over,
}

_TABLE: Mapping[Phase, _Row] = {
    Phase.STARTING: _EVERYWHERE
    | {
        Begun: startup.begin,
        Ready: startup.ready_first,
        InitFailed: startup.init_lost,
        ReadyTooSoon: startup.init_lost,
        Exited: startup.init_lost,
        DeadlinePassed: startup.too_late,
        WorkerDue: startup.restart_worker,
        RestartRequested: operator_requests.replace_workers,
        Gone: operator_requests.worker_gone,
        StandInExited: fallbacks.stand_in_exited,
        StandInDue: fallbacks.stand_in_due,
        HoldRequested: operator_requests.hold,
        StartRequested: operator_requests.start_requested,
    },
    Phase.SERVING: _EVERYWHERE
    | {
        Ready: startup.ready_more,
        InitFailed: crashes.crashed,
        ReadyTooSoon: crashes.ready_too_soon,
        Exited: crashes.crashed,
        Unresponsive: crashes.unresponsive,
        WorkerKilled: crashes.killed_below,
        DeadlinePassed: startup.some_too_late,
        WorkerDue: startup.restart_worker,
        RestartRequested: operator_requests.replace_serving,
        Gone: operator_requests.worker_gone,
        HoldRequested: operator_requests.hold,
        StartRequested: operator_requests.start_requested,
    },
    Phase.FAILED: _EVERYWHERE
    | _ERROR_SERVER
    | {
        RetryDue: startup.retry_due,
        RestartRequested: operator_requests.retry_requested,
        StartRequested: operator_requests.retry_requested,
    },
    Phase.RETRYING: _EVERYWHERE
    | _ERROR_SERVER
    | {
        Ready: startup.ready_first,
        InitFailed: startup.init_lost,
        ReadyTooSoon: startup.init_lost,
        Exited: startup.init_lost,
        DeadlinePassed: startup.too_late,
        RestartRequested: operator_requests.replace_workers,
        HoldRequested: operator_requests.hold,
        StartRequested: operator_requests.start_requested,
    },
    Phase.STOPPING: _EVERYWHERE
    | {EssentialEnded: transitions.nothing, StopRequested: transitions.kill, AllStopped: transitions.end},
}
