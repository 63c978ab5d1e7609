"""What ends the supervisor. Pure, like all of the policy."""

from dataclasses import replace

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.supervise import phases
from drum_supervisor.supervise.history import AllStopped, EssentialEnded, Exit, KillAll, StopRequested, TtlOver
from drum_supervisor.supervise.phases import Decision
from drum_supervisor.supervise.state import Limits, State


def stop_requested(state: State, event: StopRequested, limits: Limits) -> Decision:
    return phases.stop(state, ExitCode.STOPPED)


def ttl_over(state: State, event: TtlOver, limits: Limits) -> Decision:
    return phases.stop(state, state.report.exit_code if state.report else ExitCode.INIT_FAILED)


def essential_ended(state: State, event: EssentialEnded, limits: Limits) -> Decision:
    return phases.stop(replace(state, ended_by=event.words), event.code)


def kill(state: State, event: StopRequested, limits: Limits) -> Decision:
    return state, [KillAll()]


def end(state: State, event: AllStopped, limits: Limits) -> Decision:
    return state, [Exit(state.exit_code)]
