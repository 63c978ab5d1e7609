"""The policy: what to do about each event in each phase. Pure: no clock, no I/O; the event has the time.

`decide` is its only function for others. Each cell of the table is a function in the module of its subject.
docs/policy.md has the table rendered from the code, and a test compares them.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drum_supervisor.contract.phase import Phase
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
    WorkerFailure,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.transitions import Decision


def decide(state: State, event: Event, limits: Limits) -> Decision:
    """Return the next state and the actions, in the order to carry them out.

    The failure of a worker is ignored if it was given up, stopped by an operator, or replaced by its successor.
    """
    if isinstance(event, WorkerFailure) and event.worker not in state.ready | state.starting:
        return state, []
    return _TABLE[state.phase][type(event)](state, event, limits)


_Row: TypeAlias = dict[type[Event], Callable[[State, Any, Limits], Decision]]

_ANY_PHASE: _Row = {
    SupervisorStarted: transitions.ignore,
    WorkerReady: transitions.ignore,
    WorkerInitFailed: transitions.ignore,
    FailedProbation: transitions.ignore,
    WorkerExited: transitions.ignore,
    LivenessFailed: transitions.ignore,
    StartupTimedOut: transitions.ignore,
    RetryDue: transitions.ignore,
    WorkerRestartDue: transitions.ignore,
    OwnWorkerOomKilled: transitions.ignore,
    RestartRequested: transitions.ignore,
    WorkerStopped: transitions.ignore,
    ErrorServerReady: transitions.ignore,
    StopWorkerRequested: transitions.ignore,
    StartWorkerRequested: transitions.ignore,
    ErrorServerExited: transitions.ignore,
    ErrorServerRestartDue: transitions.ignore,
    StandInExited: transitions.ignore,
    StandInRestartDue: transitions.ignore,
    ErrorServerTtlExpired: transitions.ignore,
    EssentialProgramExited: transitions.stop_with_essential_program,
    StopRequested: transitions.stop_on_request,
    AllStopped: transitions.ignore,
}

_BEHIND_ERROR_SERVER: _Row = {
    ErrorServerReady: fallbacks.error_server_ready,
    ErrorServerExited: fallbacks.error_server_exited,
    ErrorServerRestartDue: fallbacks.error_server_restart_due,
    StandInExited: fallbacks.stand_in_exited,
    StandInRestartDue: fallbacks.stand_in_restart_due,
    ErrorServerTtlExpired: transitions.stop_after_ttl,
}

_TABLE: Mapping[Phase, _Row] = {
    Phase.STARTING: _ANY_PHASE
    | {
        SupervisorStarted: startup.start_all,
        WorkerReady: startup.first_worker_ready,
        WorkerInitFailed: startup.worker_failed,
        FailedProbation: startup.worker_failed,
        WorkerExited: startup.worker_failed,
        StartupTimedOut: startup.startup_timed_out,
        WorkerRestartDue: startup.worker_restart_due,
        RestartRequested: operator_requests.restart_at_once,
        WorkerStopped: operator_requests.worker_stopped,
        StandInExited: fallbacks.stand_in_exited,
        StandInRestartDue: fallbacks.stand_in_restart_due,
        StopWorkerRequested: operator_requests.stop_worker,
        StartWorkerRequested: operator_requests.start_worker,
    },
    Phase.SERVING: _ANY_PHASE
    | {
        WorkerReady: startup.another_worker_ready,
        WorkerInitFailed: crashes.worker_crashed,
        FailedProbation: crashes.failed_probation,
        WorkerExited: crashes.worker_crashed,
        LivenessFailed: crashes.liveness_failed,
        OwnWorkerOomKilled: crashes.own_worker_oom_killed,
        StartupTimedOut: startup.give_up_starting_workers,
        WorkerRestartDue: startup.worker_restart_due,
        RestartRequested: operator_requests.restart_rolling,
        WorkerStopped: operator_requests.worker_stopped,
        StopWorkerRequested: operator_requests.stop_worker,
        StartWorkerRequested: operator_requests.start_worker,
    },
    Phase.FAILED: _ANY_PHASE
    | _BEHIND_ERROR_SERVER
    | {
        RetryDue: startup.retry_due,
        RestartRequested: operator_requests.retry_now,
        StartWorkerRequested: operator_requests.retry_now,
    },
    Phase.RETRYING: _ANY_PHASE
    | _BEHIND_ERROR_SERVER
    | {
        WorkerReady: startup.first_worker_ready,
        WorkerInitFailed: startup.worker_failed,
        FailedProbation: startup.worker_failed,
        WorkerExited: startup.worker_failed,
        StartupTimedOut: startup.startup_timed_out,
        RestartRequested: operator_requests.restart_at_once,
        StopWorkerRequested: operator_requests.stop_worker,
        StartWorkerRequested: operator_requests.start_worker,
    },
    Phase.STOPPING: _ANY_PHASE
    | {
        EssentialProgramExited: transitions.ignore,
        StopRequested: transitions.kill_all,
        AllStopped: transitions.exit_supervisor,
    },
}
