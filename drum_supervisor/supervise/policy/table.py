"""The policy: what to do about each event in each phase. Pure: no clock, no I/O, time arrives in the event.

A cell of its table is a small function, in the module for its subject.

`decide` is the whole interface. Its table is rendered into docs/policy.md and held there by a test.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drum_supervisor.supervise.policy import crashes, fallbacks, operator_requests, startup, transitions
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    ErrorServerExited,
    ErrorServerReady,
    ErrorServerRestartDue,
    ErrorServerTtlExpired,
    EssentialProgramExited,
    Event,
    FailedProbation,
    LivenessFailed,
    OwnWorkerOomKilled,
    RestartRequested,
    RetryDue,
    StandInExited,
    StandInRestartDue,
    StartupTimedOut,
    StartWorkerRequested,
    StopRequested,
    StopWorkerRequested,
    SupervisorStarted,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.state import Limits, Phase, State
from drum_supervisor.supervise.policy.transitions import Decision


def decide(state: State, event: Event, limits: Limits) -> Decision:
    """Return the next state and the actions, in the order in which they are to be carried out.

    What a worker does that was given up, is held, or has a successor, is no news.
    """
    if isinstance(event, _ENDS) and event.worker not in state.ready | state.starting:
        return state, []
    return _TABLE[state.phase][type(event)](state, event, limits)


_ENDS = (WorkerInitFailed, FailedProbation, WorkerExited)


_Row: TypeAlias = dict[type[Event], Callable[[State, Any, Limits], Decision]]

_EVERYWHERE: _Row = {
    SupervisorStarted: transitions.nothing,
    WorkerReady: transitions.nothing,
    WorkerInitFailed: transitions.nothing,
    FailedProbation: transitions.nothing,
    WorkerExited: transitions.nothing,
    LivenessFailed: transitions.nothing,
    StartupTimedOut: transitions.nothing,
    RetryDue: transitions.nothing,
    WorkerRestartDue: transitions.nothing,
    OwnWorkerOomKilled: transitions.nothing,
    RestartRequested: transitions.nothing,
    WorkerStopped: transitions.nothing,
    ErrorServerReady: transitions.nothing,
    StopWorkerRequested: transitions.nothing,
    StartWorkerRequested: transitions.nothing,
    ErrorServerExited: transitions.nothing,
    ErrorServerRestartDue: transitions.nothing,
    StandInExited: transitions.nothing,
    StandInRestartDue: transitions.nothing,
    ErrorServerTtlExpired: transitions.nothing,
    EssentialProgramExited: transitions.essential_ended,
    StopRequested: transitions.stop_requested,
    AllStopped: transitions.nothing,
}

_ERROR_SERVER: _Row = {
    ErrorServerReady: fallbacks.error_server_ready,
    ErrorServerExited: fallbacks.error_server_exited,
    ErrorServerRestartDue: fallbacks.error_server_due,
    StandInExited: fallbacks.stand_in_exited,
    StandInRestartDue: fallbacks.stand_in_due,
    ErrorServerTtlExpired: transitions.ttl_over,
}

_TABLE: Mapping[Phase, _Row] = {
    Phase.STARTING: _EVERYWHERE
    | {
        SupervisorStarted: startup.begin,
        WorkerReady: startup.ready_first,
        WorkerInitFailed: startup.init_lost,
        FailedProbation: startup.init_lost,
        WorkerExited: startup.init_lost,
        StartupTimedOut: startup.too_late,
        WorkerRestartDue: startup.restart_worker,
        RestartRequested: operator_requests.replace_workers,
        WorkerStopped: operator_requests.worker_gone,
        StandInExited: fallbacks.stand_in_exited,
        StandInRestartDue: fallbacks.stand_in_due,
        StopWorkerRequested: operator_requests.hold,
        StartWorkerRequested: operator_requests.start_requested,
    },
    Phase.SERVING: _EVERYWHERE
    | {
        WorkerReady: startup.ready_more,
        WorkerInitFailed: crashes.crashed,
        FailedProbation: crashes.ready_too_soon,
        WorkerExited: crashes.crashed,
        LivenessFailed: crashes.unresponsive,
        OwnWorkerOomKilled: crashes.killed_below,
        StartupTimedOut: startup.some_too_late,
        WorkerRestartDue: startup.restart_worker,
        RestartRequested: operator_requests.replace_serving,
        WorkerStopped: operator_requests.worker_gone,
        StopWorkerRequested: operator_requests.hold,
        StartWorkerRequested: operator_requests.start_requested,
    },
    Phase.FAILED: _EVERYWHERE
    | _ERROR_SERVER
    | {
        RetryDue: startup.retry_due,
        RestartRequested: operator_requests.retry_requested,
        StartWorkerRequested: operator_requests.retry_requested,
    },
    Phase.RETRYING: _EVERYWHERE
    | _ERROR_SERVER
    | {
        WorkerReady: startup.ready_first,
        WorkerInitFailed: startup.init_lost,
        FailedProbation: startup.init_lost,
        WorkerExited: startup.init_lost,
        StartupTimedOut: startup.too_late,
        RestartRequested: operator_requests.replace_workers,
        StopWorkerRequested: operator_requests.hold,
        StartWorkerRequested: operator_requests.start_requested,
    },
    Phase.STOPPING: _EVERYWHERE
    | {EssentialProgramExited: transitions.nothing, StopRequested: transitions.kill, AllStopped: transitions.end},
}
