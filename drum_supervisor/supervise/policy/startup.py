"""Workers that start: they become ready, fail or time out. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.contract.phase import Phase
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
    RetryDue,
    StartupTimedOut,
    WorkerFailure,
    WorkerReady,
    WorkerRestartDue,
)
from drum_supervisor.supervise.policy.state import Limits, State, wanted_workers
from drum_supervisor.supervise.policy.transitions import Decision

MIN_FAILED_START_DELAY = 1.0  # seconds until a worker that failed to start is started again


def start_all(state: State, event: Event, limits: Limits) -> Decision:
    return replace(state, starting=limits.slots), [
        *transitions.start_stand_in(limits),
        *transitions.start_workers(limits.slots),
        transitions.set_startup_deadline(limits),
    ]


def retry_due(state: State, event: RetryDue, limits: Limits) -> Decision:
    if state.stopped_by_operator == limits.slots:
        return state, []
    counted = replace(state, retries=state.retries + 1, retry_restarts=state.retry_restarts + 1)
    return transitions.enter_retrying(counted, limits)


def worker_restart_due(state: State, event: WorkerRestartDue, limits: Limits) -> Decision:
    return state, [StartWorker(event.worker)] if event.worker in state.starting else []


def first_worker_ready(state: State, event: WorkerReady, limits: Limits) -> Decision:
    """The service is up: stop the error server and the stand-in."""
    if event.worker not in state.starting:  # it has failed meanwhile
        return state, []
    ready = _mark_ready(state, event.worker)
    up = replace(ready, phase=Phase.SERVING, attempt=1, retries=0, error_server_ready=False)
    complete, restarts = _restart_failed_workers(up, event.at, limits)
    serving, replacing = _advance_rolling_restart(complete, event.worker, limits)
    actions: list[Action] = []
    if state.phase is Phase.RETRYING:
        actions += [CancelAlarm(Alarm.TTL), StopErrorServer()]
    if limits.stand_in and not state.error_server_ready and serving.ready:  # not ready: replaced at once
        actions.append(StopStandIn())
    actions += [*restarts, *replacing]
    if serving.ready:
        return serving, [*actions, *transitions.cancel_unneeded_deadline(serving)]
    return transitions.keep_serving(serving, actions, limits)


def _restart_failed_workers(state: State, at: float, limits: Limits) -> Decision:
    """Restart workers that failed before another one became ready; they count as crashed."""
    actions: list[Action] = []
    for worker in sorted(wanted_workers(state, limits) - state.ready - state.starting):
        crashes = transitions.add_crash(state, at, limits)
        if len(crashes) > limits.max_restarts:
            return state, actions
        starting = state.starting | {worker}
        state = replace(state, crashes=crashes, starting=starting, crash_restarts=state.crash_restarts + 1)
        delay = max(transitions.restart_delay(len(crashes)), MIN_FAILED_START_DELAY)
        actions.append(SetAlarm(Alarm.WORKER, delay, worker))
    return state, actions


def another_worker_ready(state: State, event: WorkerReady, limits: Limits) -> Decision:
    if event.worker not in state.starting:
        return state, []
    serving, replacing = _advance_rolling_restart(_mark_ready(state, event.worker), event.worker, limits)
    if replacing:
        return transitions.keep_serving(serving, replacing, limits)
    return serving, transitions.cancel_unneeded_deadline(serving)


def _mark_ready(state: State, worker: int) -> State:
    return replace(state, ready=state.ready | {worker}, starting=state.starting - {worker})


def _advance_rolling_restart(state: State, worker: int, limits: Limits) -> Decision:
    serving, actions = rolling_restart.worker_ready(state, worker, limits)
    return transitions.drop_report_when_complete(serving, limits), actions


def worker_failed(state: State, event: WorkerFailure, limits: Limits) -> Decision:
    """A worker will not become ready; the service has failed unless another one is starting."""
    state = rolling_restart.abort_if_successor(state, event.worker, event.report)
    others = replace(state, starting=state.starting - {event.worker}, ready=state.ready - {event.worker})
    if others.starting:
        return replace(others, report=event.report), [StopWorker(event.worker)]
    return transitions.enter_failed(others, event.report, limits)


def startup_timed_out(state: State, event: StartupTimedOut, limits: Limits) -> Decision:
    if not state.starting:
        return state, []
    return transitions.enter_failed(state, event.report, limits)


def give_up_starting_workers(state: State, event: StartupTimedOut, limits: Limits) -> Decision:
    """The start-up deadline has passed while the service is up: go on without the workers that are not ready."""
    aborted, stopped = rolling_restart.abort(state, event.report)
    late = aborted.starting
    given_up = replace(aborted, starting=frozenset(), report=event.report if late else aborted.report)
    return given_up, [CancelAlarm(Alarm.WORKER), *stopped, *transitions.stop_workers(late)]
