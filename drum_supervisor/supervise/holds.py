"""Workers that an operator stops, and starts again, and what becomes of a replacement. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.supervise import rolls
from drum_supervisor.supervise.history import StartWorker, StopWorker
from drum_supervisor.supervise.rolls import Step
from drum_supervisor.supervise.state import Limits, State, side_of


def hold(state: State, place: int, limits: Limits) -> Step:
    """Stop the worker in a place, its successor too, and do not start it again; others that are due go on."""
    worker = side_of(place, state, limits)
    alone, stopped = rolls.without(state, place, limits)
    ready, coming = alone.ready - {worker}, alone.coming - {worker}
    held, replacing = rolls.go_on(replace(alone, ready=ready, coming=coming, held=state.held | {place}), limits)
    return held, [*stopped, StopWorker(worker), *replacing]


def start(state: State, place: int, limits: Limits) -> Step:
    """Start the worker in a place that is held, or was given up; one that runs, or will, is left alone."""
    worker = side_of(place, state, limits)
    if worker in state.ready | state.coming:
        return state, []
    requested = state.requested_restarts + 1
    begun = replace(state, coming=state.coming | {worker}, held=state.held - {place}, requested_restarts=requested)
    return begun, [StartWorker(worker)]
