"""Entering a phase, and what it takes, whatever has led to it. Pure, like all of the policy."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport
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
from drum_supervisor.supervise.policy.state import Limits, Phase, State, attempts_left, possibly_running, wanted_workers

LONGEST_RETRY_INTERVAL = 300.0
LONGEST_RESTART_DELAY = 30.0

Decision: TypeAlias = tuple[State, list[Action]]


def fail(state: State, report: FailureReport, limits: Limits) -> Decision:
    """No worker is ready and none is coming."""
    stopped = stop_workers(possibly_running(state, limits))
    without = replace(state, ready=frozenset(), starting=frozenset(), rolling_restart=None)
    failed = replace(without, phase=Phase.FAILED, report=report, restart_failure=None)  # no old one has gone on
    actions = [CancelAlarm(Alarm.DEADLINE), CancelAlarm(Alarm.WORKER), *stopped, SaveReport(report)]
    if not limits.error_server:
        return stop(failed, report.exit_code, actions)
    if state.phase is Phase.SERVING:
        actions += stand_in(limits)
    actions.append(StartErrorServer())
    if state.phase is not Phase.RETRYING:
        actions += [SetAlarm(Alarm.END, limits.ttl)] if limits.ttl else []
    if attempts_left(failed, limits):
        actions.append(SetAlarm(Alarm.RETRY, retry_delay(state.retries, limits)))
    return failed, actions


def retry(state: State, limits: Limits) -> Decision:
    """Try once more to initialize, behind the error server."""
    attempt = state.attempt + 1
    retrying = replace(state, phase=Phase.RETRYING, starting=wanted_workers(state, limits), attempt=attempt, crashes=())
    return retrying, [
        CancelAlarm(Alarm.RETRY),
        *start_workers(retrying.starting),
        deadline(limits),
    ]


def retry_delay(retries: int, limits: Limits) -> float:
    """Return the seconds before the next retry when `retries` were made: doubled each time, up to five minutes."""
    longest = max(LONGEST_RETRY_INTERVAL, limits.retry_interval)
    return min(limits.retry_interval * 2.0 ** min(retries, 60), longest)


def recent(state: State, at: float, limits: Limits) -> tuple[float, ...]:
    """Return the crashes that count, with the one that was just now, `at`."""
    return (*(crash for crash in state.crashes if crash > at - limits.restart_window), at)


def restart_delay(crashes: int) -> float:
    """Return the seconds before a restart: none after the first crash, then 1, 2, 4 ... up to half a minute."""
    return 0.0 if crashes <= 1 else min(2.0 ** min(crashes - 2, 60), LONGEST_RESTART_DELAY)


def still_up(state: State, actions: list[Action], limits: Limits, delay: float = 0.0) -> Decision:
    """Serving goes on while a worker is ready; else it is starting again."""
    actions = [*actions, deadline(limits, delay)] if state.starting else actions
    if state.ready:
        return state, actions
    return replace(state, phase=Phase.STARTING), [*stand_in(limits), *actions]


def stop(state: State, code: int, before: list[Action] | None = None) -> Decision:
    """Stop everything; alarms ring no more, because a stopping policy does not listen to them."""
    stopping = replace(
        state, phase=Phase.STOPPING, ready=frozenset(), starting=frozenset(), rolling_restart=None, exit_code=code
    )
    return stopping, [*(before or []), StopAll()]


def told(state: State, limits: Limits) -> State:
    """The last failure is told for as long as a worker is missing for it."""
    is_complete = state.ready | state.starting >= wanted_workers(state, limits)
    return replace(state, report=None if is_complete else state.report)


def stand_in(limits: Limits) -> list[Action]:
    return [StartStandIn()] if limits.stand_in else []


def deadline(limits: Limits, delay: float = 0.0) -> Action:
    """Plan the deadline of a start in `delay` seconds."""
    return SetAlarm(Alarm.DEADLINE, delay + limits.startup_timeout)


def no_deadline(state: State) -> list[Action]:
    return [] if state.starting else [CancelAlarm(Alarm.DEADLINE)]


def start_workers(workers: frozenset[int]) -> list[Action]:
    return [StartWorker(worker) for worker in sorted(workers)]


def stop_workers(workers: frozenset[int]) -> list[Action]:
    return [StopWorker(worker) for worker in sorted(workers)]


def nothing(state: State, event: Event, limits: Limits) -> Decision:
    return state, []


def stop_requested(state: State, event: StopRequested, limits: Limits) -> Decision:
    return stop(state, ExitCode.STOPPED)


def ttl_over(state: State, event: ErrorServerTtlExpired, limits: Limits) -> Decision:
    return stop(state, state.report.exit_code if state.report else ExitCode.INIT_FAILED)


def essential_ended(state: State, event: EssentialProgramExited, limits: Limits) -> Decision:
    return stop(replace(state, ended_by=event.words), event.code)


def kill(state: State, event: StopRequested, limits: Limits) -> Decision:
    return state, [KillAll()]


def end(state: State, event: AllStopped, limits: Limits) -> Decision:
    return state, [Exit(state.exit_code)]
