"""What operators ask for, in each phase. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise import holds, phases, rolls, starts
from drum_supervisor.supervise.history import Gone, HoldRequested, Phase, RestartRequested, StartRequested
from drum_supervisor.supervise.phases import Decision
from drum_supervisor.supervise.state import Limits, State, place_of, side_of


def retry_requested(state: State, event: RestartRequested | StartRequested, limits: Limits) -> Decision:
    held = state.held - _places(event, limits)
    return starts.retry(replace(state, held=held, retries=0, requested_restarts=state.requested_restarts + 1), limits)


def replace_workers(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """Nobody serves: stop all, start all; the engine starts a worker when its predecessor is gone."""
    places = _places(event, limits)
    workers = frozenset(side_of(place, state, limits) for place in places)
    stopped, dropped = rolls.dropped(state)
    changed = replace(
        stopped,
        ready=stopped.ready - workers,
        coming=stopped.coming | workers,
        held=stopped.held - places,
        requested_restarts=state.requested_restarts + 1,
        restart_failure=None,
    )
    return changed, [*dropped, *phases.stop_workers(workers), *phases.start_workers(workers), phases.deadline(limits)]


def replace_serving(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """One after the other, so that the service stays up where it can."""
    return phases.still_up(*rolls.begin(state, event, limits), limits)


def worker_gone(state: State, event: Gone, limits: Limits) -> Decision:
    """Where its successor serves, it is the next one's turn."""
    going_on, actions = rolls.gone(state, event.worker, limits)
    return phases.still_up(going_on, actions, limits) if actions else (going_on, [])


def hold(state: State, event: HoldRequested, limits: Limits) -> Decision:
    """Stop a worker as for a restart; a service that has no other then waits for an operator."""
    held, actions = holds.hold(state, place_of(event.worker, limits), limits)
    actions = [*actions, *phases.no_deadline(held)]
    if state.phase is Phase.SERVING:
        return phases.still_up(phases.told(held, limits), actions, limits)
    if state.phase is Phase.STARTING:
        return phases.told(held, limits), actions
    if held.coming:
        return held, actions
    if state.report and held.held != limits.all_workers:
        failed, stopped = phases.fail(held, state.report, limits)
        return failed, [*actions, *stopped]
    return replace(held, phase=Phase.FAILED, roll=None), actions


def start_requested(state: State, event: StartRequested, limits: Limits) -> Decision:
    begun, actions = holds.start(state, place_of(event.worker, limits), limits)
    return begun, [*actions, phases.deadline(limits)] if actions else []


def _places(event: RestartRequested | StartRequested, limits: Limits) -> frozenset[int]:
    return frozenset({place_of(event.worker, limits)}) if event.worker else limits.all_workers
