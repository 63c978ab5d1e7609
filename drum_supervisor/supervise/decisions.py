"""What is done about each event: the cells of the policy's table. Pure: no clock, no I/O."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure import Cause, FailureReport
from drum_supervisor.supervise import holds, rolls
from drum_supervisor.supervise.history import (
    Action,
    Alarm,
    AllStopped,
    Cancel,
    DeadlinePassed,
    ErrorServerDue,
    ErrorServerExited,
    ErrorServerReady,
    EssentialEnded,
    Event,
    Exit,
    Exited,
    Gone,
    HoldRequested,
    InitFailed,
    KeepReport,
    KillAll,
    Phase,
    Plan,
    Ready,
    ReadyTooSoon,
    RestartRequested,
    RetryDue,
    StandInDue,
    StandInExited,
    StartErrorServer,
    StartRequested,
    StartStandIn,
    StartWorker,
    StopAll,
    StopErrorServer,
    StopRequested,
    StopStandIn,
    StopWorker,
    TtlOver,
    Unresponsive,
    WorkerDue,
    WorkerKilled,
)
from drum_supervisor.supervise.state import Limits, State, attempts_left, place_of, side_of, workers_of

LONGEST_RETRY_INTERVAL = 300.0
LONGEST_RESTART_DELAY = 30.0
SHORTEST_RESTART_DELAY = 1.0  # of a worker that failed on its own
ERROR_SERVER_DELAY = 1.0
STAND_IN_DELAY = 1.0

Decision: TypeAlias = tuple[State, list[Action]]


def begin(state: State, event: Event, limits: Limits) -> Decision:
    return replace(state, coming=limits.all_workers), [
        *_stand_in(limits),
        *_start(limits.all_workers),
        _deadline(limits),
    ]


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
    return (serving, [*actions, *_no_deadline(serving)]) if serving.ready else _still_up(serving, actions, limits)


def _bring_back(state: State, at: float, limits: Limits) -> Decision:
    """Workers that failed while another one became ready are started again like those that crash."""
    actions: list[Action] = []
    for worker in sorted(workers_of(state, limits) - state.ready - state.coming):
        crashes = (*_recent(state, at, limits), at)
        if len(crashes) > limits.max_restarts:
            return state, actions
        coming = state.coming | {worker}
        state = replace(state, crashes=crashes, coming=coming, crash_restarts=state.crash_restarts + 1)
        actions.append(Plan(Alarm.WORKER, max(restart_delay(len(crashes)), SHORTEST_RESTART_DELAY), worker))
    return state, actions


def _recent(state: State, at: float, limits: Limits) -> tuple[float, ...]:
    """Return the crashes that still count."""
    return tuple(crash for crash in state.crashes if crash > at - limits.restart_window)


def ready_more(state: State, event: Ready, limits: Limits) -> Decision:
    if event.worker not in state.coming:
        return state, []
    serving, replacing = _go_on(_there(state, event.worker), event.worker, limits)
    if replacing:
        return _still_up(serving, replacing, limits)
    return serving, _no_deadline(serving)


def _there(state: State, worker: int) -> State:
    return replace(state, ready=state.ready | {worker}, coming=state.coming - {worker})


def _go_on(state: State, worker: int, limits: Limits) -> Decision:
    """A worker is there; if others are to be replaced, it may be the next one's turn."""
    serving, actions = rolls.arrived(state, worker, limits)
    return _told(serving, limits), actions


def _told(state: State, limits: Limits) -> State:
    """The last failure is told for as long as a worker is missing for it."""
    is_complete = state.ready | state.coming >= workers_of(state, limits)
    return replace(state, report=None if is_complete else state.report)


def _no_deadline(state: State) -> list[Action]:
    return [] if state.coming else [Cancel(Alarm.DEADLINE)]


def init_lost(state: State, event: InitFailed | ReadyTooSoon | Exited, limits: Limits) -> Decision:
    """A worker will not become ready; the others may."""
    state = _not_replaced(state, event)
    others = replace(state, coming=state.coming - {event.worker}, ready=state.ready - {event.worker})
    if others.coming:
        return replace(others, report=event.report), [StopWorker(event.worker)]
    return _fail(others, event.report, limits)


def ready_too_soon(state: State, event: ReadyTooSoon, limits: Limits) -> Decision:
    """Alone it has failed, and to start it again would only repeat it; among others it is like one that crashed."""
    others = replace(state, ready=state.ready - {event.worker}, coming=state.coming - {event.worker})
    if others.ready or others.coming:
        return crashed(state, event, limits)
    return _fail(others, event.report, limits)


def crashed(state: State, event: InitFailed | ReadyTooSoon | Exited, limits: Limits) -> Decision:
    """A worker died while the service was up; one that cannot replace another leaves that in its place."""
    if (kept := rolls.successor_failed(state, event.worker, event.report)) is not None:
        return kept[0], [*kept[1], *_no_deadline(kept[0])]
    if (succeeded := rolls.predecessor_lost(state, event.worker, limits)) is not None:
        return _still_up(_crash_counted(succeeded, event, limits), [StopWorker(event.worker)], limits)
    return _lost(_not_replaced(state, event), frozenset({event.worker}), event, limits)


def _not_replaced(state: State, event: InitFailed | ReadyTooSoon | Exited) -> State:
    """Where a worker cannot be replaced, no others are."""
    is_new = state.roll is not None and state.roll.new == event.worker
    return rolls.dropped(state, event.report)[0] if is_new else state


def _crash_counted(state: State, event: InitFailed | ReadyTooSoon | Exited, limits: Limits) -> State:
    return replace(
        state, crashes=(*_recent(state, event.at, limits), event.at), crash_restarts=state.crash_restarts + 1
    )


def unresponsive(state: State, event: Unresponsive, limits: Limits) -> Decision:
    """Whoever is ready does not answer: one crash, of all of them; a successor of one of them is dropped."""
    alone, dropped = rolls.dropped(state, event.report)
    lost, actions = _lost(alone, alone.ready, event, limits)
    return lost, [*dropped, *actions]


def killed_below(state: State, event: WorkerKilled, limits: Limits) -> Decision:
    """A server's own worker was killed, and replaced by the server: it counts as a crash that needs no answer yet."""
    counted = replace(state, crashes=(*_recent(state, event.at, limits), event.at))
    if event.worker not in state.ready or len(counted.crashes) <= limits.max_restarts:
        return counted, []
    lost = frozenset({event.worker})
    alone, dropped = rolls.dropped(counted, event.report)
    given_up, actions = _gave_up(replace(alone, ready=alone.ready - lost), lost, event, limits)
    return given_up, [*dropped, *actions]


_Loss: TypeAlias = InitFailed | ReadyTooSoon | Exited | Unresponsive | WorkerKilled


def _lost(state: State, workers: frozenset[int], event: _Loss, limits: Limits) -> Decision:
    """Start workers again, at once or later, unless that happened too often."""
    crashes = (*_recent(state, event.at, limits), event.at)
    without = replace(state, crashes=crashes, ready=state.ready - workers, coming=state.coming - workers)
    if len(crashes) > limits.max_restarts:
        return _gave_up(without, workers, event, limits)
    again = replace(without, coming=without.coming | workers, crash_restarts=state.crash_restarts + 1)
    delay = restart_delay(len(crashes))
    planned: list[Action] = [Plan(Alarm.WORKER, delay, worker) for worker in sorted(workers)]
    return _still_up(again, [*_stop_workers(workers), *(planned if delay else _start(workers))], limits, delay)


def restart_delay(crashes: int) -> float:
    """Return the seconds before a restart: none after the first crash, then 1, 2, 4 ... up to half a minute."""
    return 0.0 if crashes <= 1 else min(2.0 ** min(crashes - 2, 60), LONGEST_RESTART_DELAY)


def _gave_up(state: State, workers: frozenset[int], event: _Loss, limits: Limits) -> Decision:
    if state.ready or state.coming:
        alone, dropped = rolls.dropped(replace(state, report=event.report))
        return _still_up(alone, [*_stop_workers(workers), *dropped], limits)
    cause = Cause.KEPT_DYING if limits.max_restarts else Cause.DIED
    return _fail(state, replace(event.report, cause=cause), limits)


def _still_up(state: State, actions: list[Action], limits: Limits, delay: float = 0.0) -> Decision:
    """Serving goes on while a worker is ready; else it is starting again."""
    actions = [*actions, _deadline(limits, delay)] if state.coming else actions
    if state.ready:
        return state, actions
    return replace(state, phase=Phase.STARTING), [*_stand_in(limits), *actions]


def too_late(state: State, event: DeadlinePassed, limits: Limits) -> Decision:
    if not state.coming:
        return state, []
    return _fail(state, event.report, limits)


def some_too_late(state: State, event: DeadlinePassed, limits: Limits) -> Decision:
    """The service is up, but not with all its workers: what is not ready yet is given up."""
    kept, dropped = rolls.dropped(state, event.report)
    late = kept.coming
    given_up = replace(kept, coming=frozenset(), report=event.report if late else kept.report)
    return given_up, [Cancel(Alarm.WORKER), *dropped, *_stop_workers(late)]


def restart_worker(state: State, event: WorkerDue, limits: Limits) -> Decision:
    return state, [StartWorker(event.worker)] if event.worker in state.coming else []


def retry_due(state: State, event: RetryDue, limits: Limits) -> Decision:
    if state.held == limits.all_workers:
        return state, []
    return _retry(replace(state, retries=state.retries + 1, retry_restarts=state.retry_restarts + 1), limits)


def retry_requested(state: State, event: RestartRequested | StartRequested, limits: Limits) -> Decision:
    held = state.held - _places(event, limits)
    return _retry(replace(state, held=held, retries=0, requested_restarts=state.requested_restarts + 1), limits)


def _places(event: RestartRequested | StartRequested, limits: Limits) -> frozenset[int]:
    return frozenset({place_of(event.worker, limits)}) if event.worker else limits.all_workers


def replace_serving(state: State, event: RestartRequested, limits: Limits) -> Decision:
    """One after the other, so that the service stays up where it can."""
    return _still_up(*rolls.begin(state, event, limits), limits)


def worker_gone(state: State, event: Gone, limits: Limits) -> Decision:
    """Where its successor serves, it is the next one's turn."""
    going_on, actions = rolls.gone(state, event.worker, limits)
    return _still_up(going_on, actions, limits) if actions else (going_on, [])


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
    return changed, [*dropped, *_stop_workers(workers), *_start(workers), _deadline(limits)]


def hold(state: State, event: HoldRequested, limits: Limits) -> Decision:
    """Stop a worker as for a restart; a service that has no other then waits for an operator."""
    held, actions = holds.hold(state, place_of(event.worker, limits), limits)
    actions = [*actions, *_no_deadline(held)]
    if state.phase is Phase.SERVING:
        return _still_up(_told(held, limits), actions, limits)
    if state.phase is Phase.STARTING:
        return _told(held, limits), actions
    if held.coming:
        return held, actions
    if state.report and held.held != limits.all_workers:
        failed, stopped = _fail(held, state.report, limits)
        return failed, [*actions, *stopped]
    return replace(held, phase=Phase.FAILED, roll=None), actions


def start_requested(state: State, event: StartRequested, limits: Limits) -> Decision:
    begun, actions = holds.start(state, place_of(event.worker, limits), limits)
    return begun, [*actions, _deadline(limits)] if actions else []


def error_server_ready(state: State, event: ErrorServerReady, limits: Limits) -> Decision:
    """Only now the stand-in may go: until then it has answered with the reason."""
    return replace(state, explained=True), [StopStandIn()] if limits.stand_in else []


def error_server_exited(state: State, event: ErrorServerExited, limits: Limits) -> Decision:
    """One that cannot start is replaced by the plain one; one that crashed is started again after a moment."""
    unexplained, actions = replace(state, explained=False), _stand_in(limits)
    if event.was_ready or event.plain:
        return unexplained, [*actions, Plan(Alarm.ERROR_SERVER, ERROR_SERVER_DELAY)]
    return unexplained, [*actions, StartErrorServer(plain=True)]


def error_server_due(state: State, event: ErrorServerDue, limits: Limits) -> Decision:
    return state, [StartErrorServer()]


def stand_in_exited(state: State, event: StandInExited, limits: Limits) -> Decision:
    """One that crashed is started again after a moment; one that cannot start is done without: connections wait."""
    return state, [Plan(Alarm.STAND_IN, STAND_IN_DELAY)] if event.was_ready and not state.explained else []


def stand_in_due(state: State, event: StandInDue, limits: Limits) -> Decision:
    return state, [] if state.explained else _stand_in(limits)


def ttl_over(state: State, event: TtlOver, limits: Limits) -> Decision:
    return _stop(state, state.report.exit_code if state.report else ExitCode.INIT_FAILED)


def stop_requested(state: State, event: StopRequested, limits: Limits) -> Decision:
    return _stop(state, ExitCode.STOPPED)


def essential_ended(state: State, event: EssentialEnded, limits: Limits) -> Decision:
    return _stop(replace(state, ended_by=event.words), event.code)


def kill(state: State, event: StopRequested, limits: Limits) -> Decision:
    return state, [KillAll()]


def end(state: State, event: AllStopped, limits: Limits) -> Decision:
    return state, [Exit(state.exit_code)]


def nothing(state: State, event: Event, limits: Limits) -> Decision:
    return state, []


# --- entering a phase


def _fail(state: State, report: FailureReport, limits: Limits) -> Decision:
    """No worker is ready and none is coming."""
    stopped = _stop_workers(rolls.involved(state, limits))
    failed = replace(state, phase=Phase.FAILED, ready=frozenset(), coming=frozenset(), report=report, roll=None)
    actions = [Cancel(Alarm.DEADLINE), Cancel(Alarm.WORKER), *stopped, KeepReport(report)]
    if not limits.error_server:
        return _stop(failed, report.exit_code, actions)
    if state.phase is Phase.SERVING:
        actions += _stand_in(limits)
    actions.append(StartErrorServer())
    if state.phase is not Phase.RETRYING:
        actions += [Plan(Alarm.END, limits.ttl)] if limits.ttl else []
    if attempts_left(failed, limits):
        actions.append(Plan(Alarm.RETRY, retry_delay(state.retries, limits)))
    return failed, actions


def retry_delay(retries: int, limits: Limits) -> float:
    """Return the seconds before the next retry when `retries` were made: doubled each time, up to five minutes."""
    longest = max(LONGEST_RETRY_INTERVAL, limits.retry_interval)
    return min(limits.retry_interval * 2.0 ** min(retries, 60), longest)


def _retry(state: State, limits: Limits) -> Decision:
    attempt = state.attempt + 1
    retrying = replace(state, phase=Phase.RETRYING, coming=workers_of(state, limits), attempt=attempt, crashes=())
    return retrying, [Cancel(Alarm.RETRY), *_start(retrying.coming), _deadline(limits)]


def _stop(state: State, code: int, before: list[Action] | None = None) -> Decision:
    """Stop everything; alarms ring no more, because a stopping policy does not listen to them."""
    stopping = replace(state, phase=Phase.STOPPING, ready=frozenset(), coming=frozenset(), roll=None, exit_code=code)
    return stopping, [*(before or []), StopAll()]


def _stand_in(limits: Limits) -> list[Action]:
    return [StartStandIn()] if limits.stand_in else []


def _deadline(limits: Limits, delay: float = 0.0) -> Action:
    """Plan the deadline of a start in `delay` seconds."""
    return Plan(Alarm.DEADLINE, delay + limits.startup_timeout)


def _start(workers: frozenset[int]) -> list[Action]:
    return [StartWorker(worker) for worker in sorted(workers)]


def _stop_workers(workers: frozenset[int]) -> list[Action]:
    return [StopWorker(worker) for worker in sorted(workers)]
