"""Restarts, stops and starts that operators request, in each phase. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy import rolling_restart, transitions
from drum_supervisor.supervise.policy.actions import StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import (
    RestartRequested,
    StartWorkerRequested,
    StopWorkerRequested,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.state import Limits, State, slot_of, worker_in
from drum_supervisor.supervise.policy.transitions import Decision


def retry_now(state: State, event: RestartRequested | StartWorkerRequested, limits: Limits) -> Decision:
    """Try again to initialize; the request makes all automatic retries available again."""
    stopped_by_operator = state.stopped_by_operator - _slots(event, limits)
    requested = replace(state, retries=0, requested_restarts=state.requested_restarts + 1)
    return transitions.enter_retrying(replace(requested, stopped_by_operator=stopped_by_operator), limits)


def restart_at_once(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """Restart all requested workers together, because none serves. Each starts once its predecessor is gone."""
    slots = _slots(event, limits)
    workers = frozenset(worker_in(slot, state, limits) for slot in slots)
    aborted, stopped = rolling_restart.abort(state)
    restarting = replace(
        aborted,
        ready=aborted.ready - workers,
        starting=aborted.starting | workers,
        stopped_by_operator=aborted.stopped_by_operator - slots,
        requested_restarts=state.requested_restarts + 1,
        restart_failure=None,
    )
    return restarting, [
        *stopped,
        *transitions.stop_workers(workers),
        *transitions.start_workers(workers),
        transitions.set_startup_deadline(limits),
    ]


def restart_rolling(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """Restart workers one after another, so that the service stays up if it can."""
    return transitions.keep_serving(*rolling_restart.start(state, event, limits), limits)


def worker_stopped(state: State, event: WorkerStopped, limits: Limits) -> Decision:
    advanced, actions = rolling_restart.worker_stopped(state, event.worker, limits)
    return transitions.keep_serving(advanced, actions, limits) if actions else (advanced, [])


def stop_worker(state: State, event: StopWorkerRequested, limits: Limits) -> Decision:
    """Stop a worker as for a restart; a service without any other waits for an operator."""
    stopped, actions = _stop_slot(state, slot_of(event.worker, limits), limits)
    actions = [*actions, *transitions.cancel_unneeded_deadline(stopped)]
    if state.phase is Phase.SERVING:
        return transitions.keep_serving(transitions.drop_report_when_complete(stopped, limits), actions, limits)
    if state.phase is Phase.STARTING:
        return transitions.drop_report_when_complete(stopped, limits), actions
    if stopped.starting:
        return stopped, actions
    if state.report and stopped.stopped_by_operator != limits.slots:
        failed, more = transitions.enter_failed(stopped, state.report, limits)
        return failed, [*actions, *more]
    return replace(stopped, phase=Phase.FAILED, rolling_restart=None), actions


def start_worker(state: State, event: StartWorkerRequested, limits: Limits) -> Decision:
    started, actions = _start_slot(state, slot_of(event.worker, limits), limits)
    return started, [*actions, transitions.set_startup_deadline(limits)] if actions else []


def _slots(event: RestartRequested | StartWorkerRequested, limits: Limits) -> frozenset[int]:
    return frozenset({slot_of(event.worker, limits)}) if event.worker else limits.slots


def _stop_slot(state: State, slot: int, limits: Limits) -> Decision:
    """Stop the worker of a slot, and its successor; a rolling restart goes on with the next slot."""
    worker = worker_in(slot, state, limits)
    excluded, stopped = rolling_restart.exclude_slot(state, slot, limits)
    without = replace(
        excluded,
        ready=excluded.ready - {worker},
        starting=excluded.starting - {worker},
        stopped_by_operator=state.stopped_by_operator | {slot},
    )
    advanced, replacing = rolling_restart.advance(without, limits)
    return advanced, [*stopped, StopWorker(worker), *replacing]


def _start_slot(state: State, slot: int, limits: Limits) -> Decision:
    """Start the worker of a slot unless it runs or is starting."""
    worker = worker_in(slot, state, limits)
    if worker in state.ready | state.starting:
        return state, []
    started = replace(
        state,
        starting=state.starting | {worker},
        stopped_by_operator=state.stopped_by_operator - {slot},
        requested_restarts=state.requested_restarts + 1,
    )
    return started, [StartWorker(worker)]
