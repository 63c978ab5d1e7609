"""Workers that were ready and are lost, and how often they may be. Pure, like all of the policy."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy import rolling_restart, transitions
from drum_supervisor.supervise.policy.actions import Action, Alarm, SetAlarm, StopWorker
from drum_supervisor.supervise.policy.events import (
    FailedProbation,
    LivenessFailed,
    OwnWorkerOomKilled,
    WorkerExited,
    WorkerInitFailed,
)
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.transitions import Decision

_Loss: TypeAlias = WorkerInitFailed | FailedProbation | WorkerExited | LivenessFailed | OwnWorkerOomKilled


def crashed(state: State, event: WorkerInitFailed | FailedProbation | WorkerExited, limits: Limits) -> Decision:
    """A worker died while the service was up; one that cannot replace another leaves that in its place."""
    if (kept := rolling_restart.successor_failed(state, event.worker, event.report)) is not None:
        return kept[0], [*kept[1], *transitions.no_deadline(kept[0])]
    if (succeeded := rolling_restart.predecessor_lost(state, event.worker, limits)) is not None:
        return transitions.still_up(_crash_counted(succeeded, event, limits), [StopWorker(event.worker)], limits)
    return _lost(
        rolling_restart.not_replaced(state, event.worker, event.report), frozenset({event.worker}), event, limits
    )


def ready_too_soon(state: State, event: FailedProbation, limits: Limits) -> Decision:
    """Alone it has failed, and to start it again would only repeat it; among others it is like one that crashed."""
    others = replace(state, ready=state.ready - {event.worker}, starting=state.starting - {event.worker})
    if others.ready or others.starting:
        return crashed(state, event, limits)
    return transitions.fail(others, event.report, limits)


def unresponsive(state: State, event: LivenessFailed, limits: Limits) -> Decision:
    """Whoever is ready does not answer: one crash, of all of them; a successor of one of them is dropped."""
    alone, dropped = rolling_restart.dropped(state, event.report)
    lost, actions = _lost(alone, alone.ready, event, limits)
    return lost, [*dropped, *actions]


def killed_below(state: State, event: OwnWorkerOomKilled, limits: Limits) -> Decision:
    """A server's own worker was killed, and replaced by the server: it counts as a crash that needs no answer yet."""
    counted = replace(state, crashes=transitions.recent(state, event.at, limits))
    if event.worker not in state.ready or len(counted.crashes) <= limits.max_restarts:
        return counted, []
    lost = frozenset({event.worker})
    alone, dropped = rolling_restart.dropped(counted, event.report)
    given_up, actions = _gave_up(replace(alone, ready=alone.ready - lost), lost, event, limits)
    return given_up, [*dropped, *actions]


def _crash_counted(state: State, event: WorkerInitFailed | FailedProbation | WorkerExited, limits: Limits) -> State:
    return replace(state, crashes=transitions.recent(state, event.at, limits), crash_restarts=state.crash_restarts + 1)


def _lost(state: State, workers: frozenset[int], event: _Loss, limits: Limits) -> Decision:
    """Start workers again, at once or later, unless that happened too often."""
    crashes = transitions.recent(state, event.at, limits)
    without = replace(state, crashes=crashes, ready=state.ready - workers, starting=state.starting - workers)
    if len(crashes) > limits.max_restarts:
        return _gave_up(without, workers, event, limits)
    again = replace(without, starting=without.starting | workers, crash_restarts=state.crash_restarts + 1)
    delay = transitions.restart_delay(len(crashes))
    planned: list[Action] = [SetAlarm(Alarm.WORKER, delay, worker) for worker in sorted(workers)]
    restarts = planned if delay else transitions.start_workers(workers)
    return transitions.still_up(again, [*transitions.stop_workers(workers), *restarts], limits, delay)


def _gave_up(state: State, workers: frozenset[int], event: _Loss, limits: Limits) -> Decision:
    if state.ready or state.starting:
        alone, dropped = rolling_restart.dropped(replace(state, report=event.report))
        return transitions.still_up(alone, [*transitions.stop_workers(workers), *dropped], limits)
    cause = Cause.KEPT_DYING if limits.max_restarts else Cause.DIED
    return transitions.fail(state, replace(event.report, cause=cause), limits)
