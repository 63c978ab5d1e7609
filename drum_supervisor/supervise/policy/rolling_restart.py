"""Replacing workers while the service is up, one after the other. Pure, like all of the policy.

Each place for a worker has two sides, so that a successor can start while the one before still serves: `1` and
`1 + N` of N workers. Which side serves is in `State.swapped`.
"""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.supervise.policy.actions import Action, StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import RestartCause, RestartRequested
from drum_supervisor.supervise.policy.state import Limits, RollingRestart, State, slot_of, worker_in

Step: TypeAlias = tuple[State, list[Action]]


def begin(state: State, event: RestartRequested, limits: Limits) -> Step:
    """Replace all workers, or one; what is being replaced already comes first."""
    places = limits.slots if event.worker is None else {slot_of(event.worker, limits)}
    roll = state.rolling_restart or RollingRestart()
    due = dict.fromkeys((*roll.due, *sorted(places)))
    rolling = replace(state, restart_failure=None, rolling_restart=replace(roll, due=tuple(due), overlap=event.overlap))
    return go_on(_counted(rolling, event.cause), limits)


def _counted(state: State, cause: RestartCause) -> State:
    if cause is RestartCause.MEMORY:
        return replace(state, memory_limit_restarts=state.memory_limit_restarts + 1)
    if cause is RestartCause.REQUESTS:
        return replace(state, request_limit_restarts=state.request_limit_restarts + 1)
    return replace(state, requested_restarts=state.requested_restarts + 1)


def arrived(state: State, worker: int, limits: Limits) -> Step:
    """A worker is ready: if it is a successor, the one before it may go, or it is the next one's turn."""
    roll = state.rolling_restart
    if roll is None or roll.new != worker:
        return go_on(state, limits)
    if not roll.old:
        return go_on(replace(state, rolling_restart=replace(roll, new=0)), limits)
    swapped = replace(state, ready=state.ready - {roll.old}, rolling_restart=replace(roll, new=0))
    return _moved(swapped, worker, limits), [StopWorker(roll.old)]


def gone(state: State, worker: int, limits: Limits) -> Step:
    """A worker that was asked to stop is gone: there is room for the next one's successor."""
    roll = state.rolling_restart
    if roll is None or roll.new or roll.old != worker:
        return state, []
    return go_on(replace(state, rolling_restart=replace(roll, old=0)), limits)


def successor_failed(state: State, worker: int, report: FailureReport) -> Step | None:
    """A successor that cannot serve is dropped, and the one before stays; None: it is none that overlaps."""
    roll = state.rolling_restart
    if roll is None or not roll.old or roll.new != worker:
        return None
    kept = replace(state, starting=state.starting - {worker}, ready=state.ready - {worker}, rolling_restart=None)
    return replace(kept, restart_failure=report), [StopWorker(worker)]


def not_replaced(state: State, worker: int, report: FailureReport) -> State:
    """Where a worker cannot be replaced, no others are."""
    is_new = state.rolling_restart is not None and state.rolling_restart.new == worker
    return dropped(state, report)[0] if is_new else state


def predecessor_lost(state: State, worker: int, limits: Limits) -> State | None:
    """One that dies while its successor starts needs no other successor; None: it is none of those."""
    roll = state.rolling_restart
    if roll is None or not roll.new or roll.old != worker:
        return None
    return _moved(replace(state, ready=state.ready - {worker}, rolling_restart=replace(roll, old=0)), roll.new, limits)


def dropped(state: State, report: FailureReport | None = None) -> Step:
    """Replace no more workers; a successor that overlaps is stopped."""
    roll = state.rolling_restart
    if roll is None:
        return state, []
    failure = report or state.restart_failure
    if not (roll.old and roll.new):
        return replace(state, rolling_restart=None, restart_failure=failure), []
    coming = state.starting - {roll.new}
    return replace(state, rolling_restart=None, restart_failure=failure, starting=coming), [StopWorker(roll.new)]


def without(state: State, place: int, limits: Limits) -> Step:
    """Leave a place alone, for the worker there is to stop: its successor stops as well."""
    roll = state.rolling_restart
    if roll is None:
        return state, []
    kept = replace(roll, due=tuple(due for due in roll.due if due != place))
    if not roll.new or slot_of(roll.new, limits) != place:
        return replace(state, rolling_restart=kept), []
    stopped: list[Action] = [StopWorker(roll.new)] if roll.old else []
    return replace(state, starting=state.starting - {roll.new}, rolling_restart=replace(kept, new=0, old=0)), stopped


def go_on(state: State, limits: Limits) -> Step:
    """Replace the next worker that is due, when all others are through with their start.

    One that does not serve has no time to lose, and no use for an overlap.
    """
    roll = state.rolling_restart
    if roll is None or roll.is_busy or state.starting:
        return state, []
    if not roll.due:
        return replace(state, rolling_restart=None), []
    place, *due = roll.due
    worker = worker_in(place, state, limits)
    if roll.overlap and worker in state.ready:
        new = _other(worker, limits)
        overlapping = replace(roll, due=tuple(due), new=new, old=worker)
        return replace(state, starting=state.starting | {new}, rolling_restart=overlapping), [StartWorker(new)]
    replacing = replace(roll, due=tuple(due), new=worker, old=0)
    ready, coming, held = state.ready - {worker}, state.starting | {worker}, state.stopped_by_operator - {place}
    return replace(state, ready=ready, starting=coming, stopped_by_operator=held, rolling_restart=replacing), [
        StopWorker(worker),
        StartWorker(worker),
    ]


def _moved(state: State, worker: int, limits: Limits) -> State:
    """Let `worker` be the one that serves in its place."""
    place = slot_of(worker, limits)
    return replace(state, swapped=state.swapped | {place} if worker > limits.workers else state.swapped - {place})


def _other(worker: int, limits: Limits) -> int:
    return worker - limits.workers if worker > limits.workers else worker + limits.workers
