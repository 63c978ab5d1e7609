"""Workers that start: those that become ready, and those that do not. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise import phases, rolls
from drum_supervisor.supervise.crashes import recent, restart_delay
from drum_supervisor.supervise.history import (
    Action,
    Alarm,
    Cancel,
    DeadlinePassed,
    Event,
    Exited,
    InitFailed,
    Phase,
    Plan,
    Ready,
    ReadyTooSoon,
    RetryDue,
    StartWorker,
    StopErrorServer,
    StopStandIn,
    StopWorker,
    WorkerDue,
)
from drum_supervisor.supervise.phases import Decision
from drum_supervisor.supervise.state import Limits, State, workers_of

SHORTEST_RESTART_DELAY = 1.0  # of a worker that failed on its own


def begin(state: State, event: Event, limits: Limits) -> Decision:
    return replace(state, coming=limits.all_workers), [
        *phases.stand_in(limits),
        *phases.start_workers(limits.all_workers),
        phases.deadline(limits),
    ]


def retry_due(state: State, event: RetryDue, limits: Limits) -> Decision:
    if state.held == limits.all_workers:
        return state, []
    return retry(replace(state, retries=state.retries + 1, retry_restarts=state.retry_restarts + 1), limits)


def retry(state: State, limits: Limits) -> Decision:
    """Try once more to initialize, behind the error server."""
    attempt = state.attempt + 1
    retrying = replace(state, phase=Phase.RETRYING, coming=workers_of(state, limits), attempt=attempt, crashes=())
    return retrying, [Cancel(Alarm.RETRY), *phases.start_workers(retrying.coming), phases.deadline(limits)]


def restart_worker(state: State, event: WorkerDue, limits: Limits) -> Decision:
    return state, [StartWorker(event.worker)] if event.worker in state.coming else []


def ready_first(state: State, event: Ready, limits: Limits) -> Decision:
    """The service is up: whatever answered in its place has to go."""
    if event.worker not in state.coming:  # it has failed meanwhile
        return state, []
    came_back = state.phase is Phase.RETRYING
    up = replace(_there(state, event.worker), phase=Phase.SERVING, attempt=1, retries=0, explained=False)
    brought, restarts = _bring_back(up, event.at, limits)
    serving, replacing = _go_on(brought, event.worker, limits)
    actions: list[Action] = [Cancel(Alarm.END), StopErrorServer()] if came_back else []
    if limits.stand_in and not state.explained and serving.ready:  # else it is replaced at once
        actions.append(StopStandIn())
    actions += [*restarts, *replacing]
    if serving.ready:
        return serving, [*actions, *phases.no_deadline(serving)]
    return phases.still_up(serving, actions, limits)


def _bring_back(state: State, at: float, limits: Limits) -> Decision:
    """Workers that failed while another one became ready are started again like those that crash."""
    actions: list[Action] = []
    for worker in sorted(workers_of(state, limits) - state.ready - state.coming):
        crashes = recent(state, at, limits)
        if len(crashes) > limits.max_restarts:
            return state, actions
        coming = state.coming | {worker}
        state = replace(state, crashes=crashes, coming=coming, crash_restarts=state.crash_restarts + 1)
        actions.append(Plan(Alarm.WORKER, max(restart_delay(len(crashes)), SHORTEST_RESTART_DELAY), worker))
    return state, actions


def ready_more(state: State, event: Ready, limits: Limits) -> Decision:
    if event.worker not in state.coming:
        return state, []
    serving, replacing = _go_on(_there(state, event.worker), event.worker, limits)
    if replacing:
        return phases.still_up(serving, replacing, limits)
    return serving, phases.no_deadline(serving)


def _there(state: State, worker: int) -> State:
    return replace(state, ready=state.ready | {worker}, coming=state.coming - {worker})


def _go_on(state: State, worker: int, limits: Limits) -> Decision:
    """A worker is there; if others are to be replaced, it may be the next one's turn."""
    serving, actions = rolls.arrived(state, worker, limits)
    return phases.told(serving, limits), actions


def init_lost(state: State, event: InitFailed | ReadyTooSoon | Exited, limits: Limits) -> Decision:
    """A worker will not become ready; the others may."""
    state = rolls.not_replaced(state, event.worker, event.report)
    others = replace(state, coming=state.coming - {event.worker}, ready=state.ready - {event.worker})
    if others.coming:
        return replace(others, report=event.report), [StopWorker(event.worker)]
    return phases.fail(others, event.report, limits)


def too_late(state: State, event: DeadlinePassed, limits: Limits) -> Decision:
    if not state.coming:
        return state, []
    return phases.fail(state, event.report, limits)


def some_too_late(state: State, event: DeadlinePassed, limits: Limits) -> Decision:
    """The service is up, but not with all its workers: what is not ready yet is given up."""
    kept, dropped = rolls.dropped(state, event.report)
    late = kept.coming
    given_up = replace(kept, coming=frozenset(), report=event.report if late else kept.report)
    return given_up, [Cancel(Alarm.WORKER), *dropped, *phases.stop_workers(late)]
