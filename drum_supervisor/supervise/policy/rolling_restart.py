"""Rolling restarts: workers are replaced one after another while the service is up. Pure, like all of the policy.

Each slot has a worker and a standby, so that a successor can start while its predecessor still serves: `1` and
`1 + N` of N workers. `State.swapped` has the slots where the standby serves.
"""

from dataclasses import replace

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.supervise.policy.actions import Action, StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import RestartCause, RestartRequested
from drum_supervisor.supervise.policy.state import Limits, RollingRestart, State, slot_of, worker_in
from drum_supervisor.supervise.policy.transitions import Decision


def start(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """Restart all workers, or one; slots that are pending already keep their turn."""
    slots = limits.slots if event.worker is None else {slot_of(event.worker, limits)}
    rolling = state.rolling_restart or RollingRestart()
    pending = tuple(dict.fromkeys((*rolling.pending, *sorted(slots))))
    rolling = replace(rolling, pending=pending, overlap=event.overlap)
    return advance(_count_restart(replace(state, restart_failure=None, rolling_restart=rolling), event.cause), limits)


def _count_restart(state: State, cause: RestartCause) -> State:
    if cause is RestartCause.MEMORY_LIMIT:
        return replace(state, memory_limit_restarts=state.memory_limit_restarts + 1)
    if cause is RestartCause.REQUEST_LIMIT:
        return replace(state, request_limit_restarts=state.request_limit_restarts + 1)
    return replace(state, requested_restarts=state.requested_restarts + 1)


def worker_ready(state: State, worker: int, limits: Limits) -> Decision:
    """Stop the predecessor of a successor that is ready; without a predecessor, restart the next slot."""
    rolling = state.rolling_restart
    if rolling is None or rolling.successor != worker:
        return advance(state, limits)
    if not rolling.predecessor:
        return advance(replace(state, rolling_restart=replace(rolling, successor=0)), limits)
    ready = state.ready - {rolling.predecessor}
    swapped = _make_current(replace(state, ready=ready, rolling_restart=replace(rolling, successor=0)), worker, limits)
    return swapped, [StopWorker(rolling.predecessor)]


def worker_stopped(state: State, worker: int, limits: Limits) -> Decision:
    """Restart the next slot once the predecessor is gone: until then there is no room for another successor."""
    rolling = state.rolling_restart
    if rolling is None or rolling.successor or rolling.predecessor != worker:
        return state, []
    return advance(replace(state, rolling_restart=replace(rolling, predecessor=0)), limits)


def successor_failed(state: State, worker: int, report: FailureReport) -> Decision | None:
    """Abort if `worker` is a successor whose predecessor still serves; None: it is not."""
    rolling = state.rolling_restart
    if rolling is None or not rolling.predecessor or rolling.successor != worker:
        return None
    return abort(state, report)


def predecessor_lost(state: State, worker: int, limits: Limits) -> State | None:
    """Let the successor that is starting replace a predecessor that crashed; None: `worker` is not one."""
    rolling = state.rolling_restart
    if rolling is None or not rolling.successor or rolling.predecessor != worker:
        return None
    lost = replace(state, ready=state.ready - {worker}, rolling_restart=replace(rolling, predecessor=0))
    return _make_current(lost, rolling.successor, limits)


def abort_if_successor(state: State, worker: int, report: FailureReport) -> State:
    """Restart no further slots if the worker that failed is being restarted."""
    is_successor = state.rolling_restart is not None and state.rolling_restart.successor == worker
    return abort(state, report)[0] if is_successor else state


def abort(state: State, report: FailureReport | None = None) -> Decision:
    """Restart no further slots; stop a successor whose predecessor still serves."""
    rolling = state.rolling_restart
    if rolling is None:
        return state, []
    aborted = replace(state, rolling_restart=None, restart_failure=report or state.restart_failure)
    if not (rolling.predecessor and rolling.successor):
        return aborted, []
    return replace(aborted, starting=state.starting - {rolling.successor}), [StopWorker(rolling.successor)]


def exclude_slot(state: State, slot: int, limits: Limits) -> Decision:
    """Do not restart a slot whose worker is about to be stopped; stop its successor as well."""
    rolling = state.rolling_restart
    if rolling is None:
        return state, []
    kept = replace(rolling, pending=tuple(pending for pending in rolling.pending if pending != slot))
    if not rolling.successor or slot_of(rolling.successor, limits) != slot:
        return replace(state, rolling_restart=kept), []
    stopped: list[Action] = [StopWorker(rolling.successor)] if rolling.predecessor else []
    kept = replace(kept, successor=0, predecessor=0)
    return replace(state, starting=state.starting - {rolling.successor}, rolling_restart=kept), stopped


def advance(state: State, limits: Limits) -> Decision:
    """Restart the next pending slot, unless a worker is still starting or stopping."""
    rolling = state.rolling_restart
    if rolling is None or rolling.is_busy or state.starting:
        return state, []
    if not rolling.pending:
        return replace(state, rolling_restart=None), []
    slot, *pending = rolling.pending
    worker = worker_in(slot, state, limits)
    rolling = replace(rolling, pending=tuple(pending))
    if rolling.overlap and worker in state.ready:
        return _start_successor(state, rolling, worker, limits)
    return _restart_in_place(state, rolling, worker, slot)


def _start_successor(state: State, rolling: RollingRestart, worker: int, limits: Limits) -> Decision:
    successor = worker - limits.workers if worker > limits.workers else worker + limits.workers
    rolling = replace(rolling, successor=successor, predecessor=worker)
    return replace(state, starting=state.starting | {successor}, rolling_restart=rolling), [StartWorker(successor)]


def _restart_in_place(state: State, rolling: RollingRestart, worker: int, slot: int) -> Decision:
    """Stop a worker, then start it: without overlap, or where it does not serve and overlap gains nothing."""
    restarting = replace(
        state,
        ready=state.ready - {worker},
        starting=state.starting | {worker},
        stopped_by_operator=state.stopped_by_operator - {slot},
        rolling_restart=replace(rolling, successor=worker, predecessor=0),
    )
    return restarting, [StopWorker(worker), StartWorker(worker)]


def _make_current(state: State, worker: int, limits: Limits) -> State:
    """Make `worker` the one that serves in its slot."""
    slot = slot_of(worker, limits)
    return replace(state, swapped=state.swapped | {slot} if worker > limits.workers else state.swapped - {slot})
