"""Workers that start: those that become ready, and those that do not. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise.policy import rolling_restart, transitions
from drum_supervisor.supervise.policy.actions import (
    Action,
    Alarm,
    CancelAlarm,
    SetAlarm,
    StartWorker,
    StopErrorServer,
    StopStandIn,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    Event,
    FailedProbation,
    RetryDue,
    StartupTimedOut,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
)
from drum_supervisor.supervise.policy.state import Limits, Phase, State, wanted_workers
from drum_supervisor.supervise.policy.transitions import Decision

SHORTEST_RESTART_DELAY = 1.0  # of a worker that failed on its own


def begin(state: State, event: Event, limits: Limits) -> Decision:
    return replace(state, starting=limits.slots), [
        *transitions.stand_in(limits),
        *transitions.start_workers(limits.slots),
        transitions.deadline(limits),
    ]


def retry_due(state: State, event: RetryDue, limits: Limits) -> Decision:
    if state.stopped_by_operator == limits.slots:
        return state, []
    return transitions.retry(replace(state, retries=state.retries + 1, retry_restarts=state.retry_restarts + 1), limits)


def restart_worker(state: State, event: WorkerRestartDue, limits: Limits) -> Decision:
    return state, [StartWorker(event.worker)] if event.worker in state.starting else []


def ready_first(state: State, event: WorkerReady, limits: Limits) -> Decision:
    """The service is up: whatever answered in its place has to go."""
    if event.worker not in state.starting:  # it has failed meanwhile
        return state, []
    came_back = state.phase is Phase.RETRYING
    up = replace(_there(state, event.worker), phase=Phase.SERVING, attempt=1, retries=0, error_server_ready=False)
    brought, restarts = _bring_back(up, event.at, limits)
    serving, replacing = _go_on(brought, event.worker, limits)
    actions: list[Action] = [CancelAlarm(Alarm.END), StopErrorServer()] if came_back else []
    if limits.stand_in and not state.error_server_ready and serving.ready:  # else it is replaced at once
        actions.append(StopStandIn())
    actions += [*restarts, *replacing]
    if serving.ready:
        return serving, [*actions, *transitions.no_deadline(serving)]
    return transitions.still_up(serving, actions, limits)


def _bring_back(state: State, at: float, limits: Limits) -> Decision:
    """Workers that failed while another one became ready are started again like those that crash."""
    actions: list[Action] = []
    for worker in sorted(wanted_workers(state, limits) - state.ready - state.starting):
        crashes = transitions.recent(state, at, limits)
        if len(crashes) > limits.max_restarts:
            return state, actions
        coming = state.starting | {worker}
        state = replace(state, crashes=crashes, starting=coming, crash_restarts=state.crash_restarts + 1)
        actions.append(
            SetAlarm(Alarm.WORKER, max(transitions.restart_delay(len(crashes)), SHORTEST_RESTART_DELAY), worker)
        )
    return state, actions


def ready_more(state: State, event: WorkerReady, limits: Limits) -> Decision:
    if event.worker not in state.starting:
        return state, []
    serving, replacing = _go_on(_there(state, event.worker), event.worker, limits)
    if replacing:
        return transitions.still_up(serving, replacing, limits)
    return serving, transitions.no_deadline(serving)


def _there(state: State, worker: int) -> State:
    return replace(state, ready=state.ready | {worker}, starting=state.starting - {worker})


def _go_on(state: State, worker: int, limits: Limits) -> Decision:
    """A worker is there; if others are to be replaced, it may be the next one's turn."""
    serving, actions = rolling_restart.arrived(state, worker, limits)
    return transitions.told(serving, limits), actions


def init_lost(state: State, event: WorkerInitFailed | FailedProbation | WorkerExited, limits: Limits) -> Decision:
    """A worker will not become ready; the others may."""
    state = rolling_restart.not_replaced(state, event.worker, event.report)
    others = replace(state, starting=state.starting - {event.worker}, ready=state.ready - {event.worker})
    if others.starting:
        return replace(others, report=event.report), [StopWorker(event.worker)]
    return transitions.fail(others, event.report, limits)


def too_late(state: State, event: StartupTimedOut, limits: Limits) -> Decision:
    if not state.starting:
        return state, []
    return transitions.fail(state, event.report, limits)


def some_too_late(state: State, event: StartupTimedOut, limits: Limits) -> Decision:
    """The service is up, but not with all its workers: what is not ready yet is given up."""
    kept, dropped = rolling_restart.dropped(state, event.report)
    late = kept.starting
    given_up = replace(kept, starting=frozenset(), report=event.report if late else kept.report)
    return given_up, [CancelAlarm(Alarm.WORKER), *dropped, *transitions.stop_workers(late)]
