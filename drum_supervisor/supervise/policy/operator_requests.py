"""What operators ask for, in each phase. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise.policy import rolling_restart, transitions
from drum_supervisor.supervise.policy.actions import StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import (
    RestartRequested,
    StartWorkerRequested,
    StopWorkerRequested,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.rolling_restart import Step
from drum_supervisor.supervise.policy.state import Limits, Phase, State, slot_of, worker_in
from drum_supervisor.supervise.policy.transitions import Decision


def retry_requested(state: State, event: RestartRequested | StartWorkerRequested, limits: Limits) -> Decision:
    held = state.stopped_by_operator - _places(event, limits)
    return transitions.retry(
        replace(state, stopped_by_operator=held, retries=0, requested_restarts=state.requested_restarts + 1), limits
    )


def replace_workers(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """Nobody serves: stop all, start all; the engine starts a worker when its predecessor is gone."""
    places = _places(event, limits)
    workers = frozenset(worker_in(place, state, limits) for place in places)
    stopped, dropped = rolling_restart.dropped(state)
    changed = replace(
        stopped,
        ready=stopped.ready - workers,
        starting=stopped.starting | workers,
        stopped_by_operator=stopped.stopped_by_operator - places,
        requested_restarts=state.requested_restarts + 1,
        restart_failure=None,
    )
    return changed, [
        *dropped,
        *transitions.stop_workers(workers),
        *transitions.start_workers(workers),
        transitions.deadline(limits),
    ]


def replace_serving(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """One after the other, so that the service stays up where it can."""
    return transitions.still_up(*rolling_restart.begin(state, event, limits), limits)


def worker_gone(state: State, event: WorkerStopped, limits: Limits) -> Decision:
    """Where its successor serves, it is the next one's turn."""
    going_on, actions = rolling_restart.gone(state, event.worker, limits)
    return transitions.still_up(going_on, actions, limits) if actions else (going_on, [])


def hold(state: State, event: StopWorkerRequested, limits: Limits) -> Decision:
    """Stop a worker as for a restart; a service that has no other then waits for an operator."""
    held, actions = _hold_place(state, slot_of(event.worker, limits), limits)
    actions = [*actions, *transitions.no_deadline(held)]
    if state.phase is Phase.SERVING:
        return transitions.still_up(transitions.told(held, limits), actions, limits)
    if state.phase is Phase.STARTING:
        return transitions.told(held, limits), actions
    if held.starting:
        return held, actions
    if state.report and held.stopped_by_operator != limits.slots:
        failed, stopped = transitions.fail(held, state.report, limits)
        return failed, [*actions, *stopped]
    return replace(held, phase=Phase.FAILED, rolling_restart=None), actions


def start_requested(state: State, event: StartWorkerRequested, limits: Limits) -> Decision:
    begun, actions = _start_place(state, slot_of(event.worker, limits), limits)
    return begun, [*actions, transitions.deadline(limits)] if actions else []


def _places(event: RestartRequested | StartWorkerRequested, limits: Limits) -> frozenset[int]:
    return frozenset({slot_of(event.worker, limits)}) if event.worker else limits.slots


def _hold_place(state: State, place: int, limits: Limits) -> Step:
    """Stop the worker in a place, its successor too, and do not start it again; others that are due go on."""
    worker = worker_in(place, state, limits)
    alone, stopped = rolling_restart.without(state, place, limits)
    ready, coming = alone.ready - {worker}, alone.starting - {worker}
    held, replacing = rolling_restart.go_on(
        replace(alone, ready=ready, starting=coming, stopped_by_operator=state.stopped_by_operator | {place}), limits
    )
    return held, [*stopped, StopWorker(worker), *replacing]


def _start_place(state: State, place: int, limits: Limits) -> Step:
    """Start the worker in a place that is held, or was given up; one that runs, or will, is left alone."""
    worker = worker_in(place, state, limits)
    if worker in state.ready | state.starting:
        return state, []
    requested = state.requested_restarts + 1
    begun = replace(
        state,
        starting=state.starting | {worker},
        stopped_by_operator=state.stopped_by_operator - {place},
        requested_restarts=requested,
    )
    return begun, [StartWorker(worker)]
