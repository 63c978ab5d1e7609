"""The policy: what to do about each event in each phase. Pure: no clock, no I/O, time arrives in the event.

A cell of its table is a small function, in the module for its subject.

`decide` is the whole interface. Its table is rendered into docs/policy.md and held there by a test.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drum_supervisor.supervise import crashes, endings, phases, requested, starts, substitutes
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
from drum_supervisor.supervise.phases import Decision
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
    Begun: phases.nothing,
    Ready: phases.nothing,
    InitFailed: phases.nothing,
    ReadyTooSoon: phases.nothing,
    Exited: phases.nothing,
    Unresponsive: phases.nothing,
    DeadlinePassed: phases.nothing,
    RetryDue: phases.nothing,
    WorkerDue: phases.nothing,
    WorkerKilled: phases.nothing,
    RestartRequested: phases.nothing,
    Gone: phases.nothing,
    ErrorServerReady: phases.nothing,
    HoldRequested: phases.nothing,
    StartRequested: phases.nothing,
    ErrorServerExited: phases.nothing,
    ErrorServerDue: phases.nothing,
    StandInExited: phases.nothing,
    StandInDue: phases.nothing,
    TtlOver: phases.nothing,
    EssentialEnded: endings.essential_ended,
    StopRequested: endings.stop_requested,
    AllStopped: phases.nothing,
}

_ERROR_SERVER: _Row = {
    ErrorServerReady: substitutes.error_server_ready,
    ErrorServerExited: substitutes.error_server_exited,
    ErrorServerDue: substitutes.error_server_due,
    StandInExited: substitutes.stand_in_exited,
    StandInDue: substitutes.stand_in_due,
    TtlOver: endings.ttl_over,
}

_TABLE: Mapping[Phase, _Row] = {
    Phase.STARTING: _EVERYWHERE
    | {
        Begun: starts.begin,
        Ready: starts.ready_first,
        InitFailed: starts.init_lost,
        ReadyTooSoon: starts.init_lost,
        Exited: starts.init_lost,
        DeadlinePassed: starts.too_late,
        WorkerDue: starts.restart_worker,
        RestartRequested: requested.replace_workers,
        Gone: requested.worker_gone,
        StandInExited: substitutes.stand_in_exited,
        StandInDue: substitutes.stand_in_due,
        HoldRequested: requested.hold,
        StartRequested: requested.start_requested,
    },
    Phase.SERVING: _EVERYWHERE
    | {
        Ready: starts.ready_more,
        InitFailed: crashes.crashed,
        ReadyTooSoon: crashes.ready_too_soon,
        Exited: crashes.crashed,
        Unresponsive: crashes.unresponsive,
        WorkerKilled: crashes.killed_below,
        DeadlinePassed: starts.some_too_late,
        WorkerDue: starts.restart_worker,
        RestartRequested: requested.replace_serving,
        Gone: requested.worker_gone,
        HoldRequested: requested.hold,
        StartRequested: requested.start_requested,
    },
    Phase.FAILED: _EVERYWHERE
    | _ERROR_SERVER
    | {
        RetryDue: starts.retry_due,
        RestartRequested: requested.retry_requested,
        StartRequested: requested.retry_requested,
    },
    Phase.RETRYING: _EVERYWHERE
    | _ERROR_SERVER
    | {
        Ready: starts.ready_first,
        InitFailed: starts.init_lost,
        ReadyTooSoon: starts.init_lost,
        Exited: starts.init_lost,
        DeadlinePassed: starts.too_late,
        RestartRequested: requested.replace_workers,
        HoldRequested: requested.hold,
        StartRequested: requested.start_requested,
    },
    Phase.STOPPING: _EVERYWHERE
    | {EssentialEnded: phases.nothing, StopRequested: endings.kill, AllStopped: endings.end},
}
