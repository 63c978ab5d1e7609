"""Entering a phase, and what more than one event needs for it. Pure, like all of the policy."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy.actions import (
    Action,
    Alarm,
    CancelAlarm,
    Exit,
    KillAll,
    SaveReport,
    SetAlarm,
    StartErrorServer,
    StartStandIn,
    StartWorker,
    StopAll,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    ErrorServerTtlExpired,
    EssentialProgramExited,
    Event,
    StopRequested,
)
from drum_supervisor.supervise.policy.state import Limits, State, attempts_left, possibly_running, wanted_workers

MAX_RETRY_INTERVAL = 300.0
MAX_RESTART_DELAY = 30.0

Decision: TypeAlias = tuple[State, list[Action]]


# --- entering a phase


def enter_failed(state: State, report: FailureReport, limits: Limits) -> Decision:
    """Give up all workers: none is ready or starting."""
    stopped = stop_workers(possibly_running(state, limits))
    without_workers = replace(state, ready=frozenset(), starting=frozenset(), rolling_restart=None)
    # a rolling restart that failed left no predecessor to serve: the report alone says why
    failed = replace(without_workers, phase=Phase.FAILED, report=report, restart_failure=None)
    actions = [CancelAlarm(Alarm.DEADLINE), CancelAlarm(Alarm.WORKER), *stopped, SaveReport(report)]
    if not limits.error_server:
        return enter_stopping(failed, report.exit_code, actions)
    if state.phase is Phase.SERVING:
        actions += start_stand_in(limits)
    actions.append(StartErrorServer())
    if state.phase is not Phase.RETRYING:
        actions += [SetAlarm(Alarm.TTL, limits.ttl)] if limits.ttl else []
    if attempts_left(failed, limits):
        actions.append(SetAlarm(Alarm.RETRY, retry_delay(state.retries, limits)))
    return failed, actions


def enter_retrying(state: State, limits: Limits) -> Decision:
    """Start all wanted workers once more while the error server answers."""
    wanted = wanted_workers(state, limits)
    retrying = replace(state, phase=Phase.RETRYING, starting=wanted, attempt=state.attempt + 1, crashes=())
    return retrying, [CancelAlarm(Alarm.RETRY), *start_workers(wanted), set_startup_deadline(limits)]


def enter_stopping(state: State, code: int, before: list[Action] | None = None) -> Decision:
    """Stop everything. Alarms stay set: a stopping policy ignores their events."""
    stopping = replace(
        state, phase=Phase.STOPPING, ready=frozenset(), starting=frozenset(), rolling_restart=None, exit_code=code
    )
    return stopping, [*(before or []), StopAll()]


def keep_serving(state: State, actions: list[Action], limits: Limits, delay: float = 0.0) -> Decision:
    """Keep serving while a worker is ready; otherwise enter the starting phase.

    Args:
        delay: seconds until the workers in `state.starting` are started.
    """
    actions = [*actions, set_startup_deadline(limits, delay)] if state.starting else actions
    if state.ready:
        return state, actions
    return replace(state, phase=Phase.STARTING), [*start_stand_in(limits), *actions]


# --- reports, crashes, delays


def drop_report_when_complete(state: State, limits: Limits) -> State:
    """Keep reporting the last failure while a worker is down because of it."""
    is_complete = state.ready | state.starting >= wanted_workers(state, limits)
    return replace(state, report=None if is_complete else state.report)


def add_crash(state: State, at: float, limits: Limits) -> tuple[float, ...]:
    """Return the crashes within the window, including the one `at` this moment."""
    return (*(crash for crash in state.crashes if crash > at - limits.restart_window), at)


def retry_delay(retries: int, limits: Limits) -> float:
    """Return the seconds until the next retry after `retries` retries: doubled each time, up to five minutes."""
    return back_off(limits.retry_interval, retries, max(MAX_RETRY_INTERVAL, limits.retry_interval))


def restart_delay(crashes: int) -> float:
    """Return the seconds until a restart: none after the first crash, then 1, 2, 4 ... up to half a minute."""
    return 0.0 if crashes <= 1 else back_off(1.0, crashes - 2, MAX_RESTART_DELAY)


def back_off(first: float, times: int, longest: float) -> float:
    """Return a delay of `first` seconds, doubled `times` times, and at most `longest`."""
    return min(first * 2.0 ** min(times, 60), longest)


# --- actions


def start_stand_in(limits: Limits) -> list[Action]:
    return [StartStandIn()] if limits.stand_in else []


def set_startup_deadline(limits: Limits, delay: float = 0.0) -> Action:
    """Set the deadline of workers that are started in `delay` seconds."""
    return SetAlarm(Alarm.DEADLINE, delay + limits.startup_timeout)


def cancel_unneeded_deadline(state: State) -> list[Action]:
    """Cancel the start-up deadline when no worker is starting."""
    return [] if state.starting else [CancelAlarm(Alarm.DEADLINE)]


def start_workers(workers: frozenset[int]) -> list[Action]:
    return [StartWorker(worker) for worker in sorted(workers)]


def stop_workers(workers: frozenset[int]) -> list[Action]:
    return [StopWorker(worker) for worker in sorted(workers)]


# --- cells of the table


def ignore(state: State, event: Event, limits: Limits) -> Decision:
    return state, []


def stop_on_request(state: State, event: StopRequested, limits: Limits) -> Decision:
    return enter_stopping(state, ExitCode.STOPPED)


def stop_after_ttl(state: State, event: ErrorServerTtlExpired, limits: Limits) -> Decision:
    return enter_stopping(state, state.report.exit_code if state.report else ExitCode.INIT_FAILED)


def stop_with_essential_program(state: State, event: EssentialProgramExited, limits: Limits) -> Decision:
    return enter_stopping(replace(state, exit_reason=event.reason), event.code)


def kill_all(state: State, event: StopRequested, limits: Limits) -> Decision:
    return state, [KillAll()]


def exit_supervisor(state: State, event: AllStopped, limits: Limits) -> Decision:
    return state, [Exit(state.exit_code)]
