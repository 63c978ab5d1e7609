"""Entering a phase, and what it takes, whatever has led to it. Pure, like all of the policy."""

from dataclasses import replace
from typing import TypeAlias

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.supervise.policy import rolling_restart
from drum_supervisor.supervise.policy.actions import (
    Action,
    Alarm,
    Cancel,
    Exit,
    KillAll,
    Plan,
    SaveReport,
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
    Phase,
    StopRequested,
)
from drum_supervisor.supervise.policy.state import Limits, State, attempts_left, workers_of

LONGEST_RETRY_INTERVAL = 300.0

Decision: TypeAlias = tuple[State, list[Action]]


def fail(state: State, report: FailureReport, limits: Limits) -> Decision:
    """No worker is ready and none is coming."""
    stopped = stop_workers(rolling_restart.involved(state, limits))
    without = replace(state, ready=frozenset(), coming=frozenset(), roll=None)
    failed = replace(without, phase=Phase.FAILED, report=report, restart_failure=None)  # no old one has gone on
    actions = [Cancel(Alarm.DEADLINE), Cancel(Alarm.WORKER), *stopped, SaveReport(report)]
    if not limits.error_server:
        return stop(failed, report.exit_code, actions)
    if state.phase is Phase.SERVING:
        actions += stand_in(limits)
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


def still_up(state: State, actions: list[Action], limits: Limits, delay: float = 0.0) -> Decision:
    """Serving goes on while a worker is ready; else it is starting again."""
    actions = [*actions, deadline(limits, delay)] if state.coming else actions
    if state.ready:
        return state, actions
    return replace(state, phase=Phase.STARTING), [*stand_in(limits), *actions]


def stop(state: State, code: int, before: list[Action] | None = None) -> Decision:
    """Stop everything; alarms ring no more, because a stopping policy does not listen to them."""
    stopping = replace(state, phase=Phase.STOPPING, ready=frozenset(), coming=frozenset(), roll=None, exit_code=code)
    return stopping, [*(before or []), StopAll()]


def told(state: State, limits: Limits) -> State:
    """The last failure is told for as long as a worker is missing for it."""
    is_complete = state.ready | state.coming >= workers_of(state, limits)
    return replace(state, report=None if is_complete else state.report)


def stand_in(limits: Limits) -> list[Action]:
    return [StartStandIn()] if limits.stand_in else []


def deadline(limits: Limits, delay: float = 0.0) -> Action:
    """Plan the deadline of a start in `delay` seconds."""
    return Plan(Alarm.DEADLINE, delay + limits.startup_timeout)


def no_deadline(state: State) -> list[Action]:
    return [] if state.coming else [Cancel(Alarm.DEADLINE)]


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
