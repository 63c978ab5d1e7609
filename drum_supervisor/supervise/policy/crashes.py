"""Workers that fail after they were ready, and how often that may happen. Pure, like all of the policy."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy import rolling_restart, transitions
from drum_supervisor.supervise.policy.actions import Action, Alarm, SetAlarm, StopWorker
from drum_supervisor.supervise.policy.events import FailedProbation, LivenessFailed, OwnWorkerOomKilled, WorkerFailure
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.transitions import Decision

_Failed: TypeAlias = WorkerFailure | LivenessFailed | OwnWorkerOomKilled


def worker_crashed(state: State, event: WorkerFailure, limits: Limits) -> Decision:
    """A worker failed while the service was up. A successor that fails leaves its predecessor serving."""
    if (aborted := rolling_restart.successor_failed(state, event.worker, event.report)) is not None:
        return aborted[0], [*aborted[1], *transitions.cancel_unneeded_deadline(aborted[0])]
    if (succeeded := rolling_restart.predecessor_lost(state, event.worker, limits)) is not None:
        return transitions.keep_serving(_count_crash(succeeded, event, limits), [StopWorker(event.worker)], limits)
    aborted_state = rolling_restart.abort_if_successor(state, event.worker, event.report)
    return _restart_or_give_up(aborted_state, frozenset({event.worker}), event, limits)


def failed_probation(state: State, event: FailedProbation, limits: Limits) -> Decision:
    """Fail if no other worker is left: a restart would only repeat the failure. Otherwise it counts as a crash."""
    others = replace(state, ready=state.ready - {event.worker}, starting=state.starting - {event.worker})
    if others.ready or others.starting:
        return worker_crashed(state, event, limits)
    return transitions.enter_failed(others, event.report, limits)


def liveness_failed(state: State, event: LivenessFailed, limits: Limits) -> Decision:
    """Restart all ready workers, which counts as one crash, and abort a rolling restart."""
    aborted, stopped = rolling_restart.abort(state, event.report)
    restarted, actions = _restart_or_give_up(aborted, aborted.ready, event, limits)
    return restarted, [*stopped, *actions]


def own_worker_oom_killed(state: State, event: OwnWorkerOomKilled, limits: Limits) -> Decision:
    """Count a crash. The server replaces its worker by itself: it is left alone up to the limit."""
    counted = replace(state, crashes=transitions.add_crash(state, event.at, limits))
    if event.worker not in state.ready or len(counted.crashes) <= limits.max_restarts:
        return counted, []
    lost = frozenset({event.worker})
    aborted, stopped = rolling_restart.abort(counted, event.report)
    given_up, actions = _give_up(replace(aborted, ready=aborted.ready - lost), lost, event, limits)
    return given_up, [*stopped, *actions]


def _count_crash(state: State, event: WorkerFailure, limits: Limits) -> State:
    crashes = transitions.add_crash(state, event.at, limits)
    return replace(state, crashes=crashes, crash_restarts=state.crash_restarts + 1)


def _restart_or_give_up(state: State, workers: frozenset[int], event: _Failed, limits: Limits) -> Decision:
    """Restart workers, at once or later, unless there were too many crashes."""
    crashes = transitions.add_crash(state, event.at, limits)
    without = replace(state, crashes=crashes, ready=state.ready - workers, starting=state.starting - workers)
    if len(crashes) > limits.max_restarts:
        return _give_up(without, workers, event, limits)
    restarting = replace(without, starting=without.starting | workers, crash_restarts=state.crash_restarts + 1)
    delay = transitions.restart_delay(len(crashes))
    scheduled: list[Action] = [SetAlarm(Alarm.WORKER, delay, worker) for worker in sorted(workers)]
    restarts = scheduled if delay else transitions.start_workers(workers)
    return transitions.keep_serving(restarting, [*transitions.stop_workers(workers), *restarts], limits, delay)


def _give_up(state: State, workers: frozenset[int], event: _Failed, limits: Limits) -> Decision:
    """Leave workers stopped; without any other the service has failed."""
    if state.ready or state.starting:
        aborted, stopped = rolling_restart.abort(replace(state, report=event.report))
        return transitions.keep_serving(aborted, [*transitions.stop_workers(workers), *stopped], limits)
    cause = Cause.KEPT_DYING if limits.max_restarts else Cause.DIED
    return transitions.enter_failed(state, replace(event.report, cause=cause), limits)
