"""What is counted of what the policy decides, as histories."""

import pytest

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.supervise.policy import counters, events
from drum_supervisor.supervise.policy.counters import Counters
from drum_supervisor.supervise.policy.state import Limits, Phase, State
from drum_supervisor.supervise.policy.table import decide

REPORT = FailureReport(Cause.INIT_FAILED, "bad weights")
LIMITS = Limits()
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "too late")


def counted(*happened: events.Event, limits: Limits = LIMITS) -> Counters:
    """Return what is counted of a events."""
    state, found = State(), Counters()
    for event in (events.SupervisorStarted(0.0), *happened):
        before = state.phase
        state, actions = decide(state, event, limits)
        found = counters.count_decision(found, before, state.phase, actions)
    return found


def swaps(found: Counters) -> tuple[int, int]:
    return found.to_error_server, found.to_model_server


def test_every_cause_is_there_from_the_beginning():
    assert dict(Counters().failures) == dict.fromkeys(Cause, 0)


def test_model_server_that_is_ready_is_no_swap():
    assert swaps(counted(events.WorkerReady(1.0))) == (0, 0)


def test_failure_is_counted_by_its_cause_and_the_error_server_takes_over():
    found = counted(events.WorkerInitFailed(1.0, REPORT))
    assert (found.failures[Cause.INIT_FAILED], found.failures[Cause.STARTUP_TIMEOUT]) == (1, 0)
    assert swaps(found) == (1, 0)


def test_retry_that_fails_is_a_failure_and_no_swap():
    found = counted(events.WorkerInitFailed(1.0, REPORT), events.RetryDue(2.0), events.StartupTimedOut(3.0, LATE))
    assert (found.failures[Cause.INIT_FAILED], found.failures[Cause.STARTUP_TIMEOUT]) == (1, 1)
    assert swaps(found) == (1, 0)


def test_retry_that_succeeds_swaps_back():
    assert swaps(counted(events.WorkerInitFailed(1.0, REPORT), events.RetryDue(2.0), events.WorkerReady(3.0))) == (1, 1)


def test_error_server_that_is_started_again_is_no_swap():
    found = counted(
        events.WorkerInitFailed(1.0, REPORT), events.ErrorServerExited(2.0), events.ErrorServerRestartDue(3.0)
    )
    assert swaps(found) == (1, 0)


def test_without_an_error_server_there_is_no_swap():
    found = counted(events.WorkerInitFailed(1.0, REPORT), limits=Limits(error_server=False))
    assert found.failures[Cause.INIT_FAILED] == 1
    assert swaps(found) == (0, 0)


def test_crashes_that_are_too_many_are_one_failure():
    crashes = [events.WorkerExited(float(at), REPORT) for at in range(10, 12)]
    found = counted(events.WorkerReady(1.0), *crashes, limits=Limits(max_restarts=0))
    assert sum(found.failures.values()) == found.failures[Cause.DIED] == 1


def test_last_start_of_each_worker_is_kept():
    found = counters.record_startup(
        counters.record_startup(counters.record_startup(Counters(), 1, 4.0), 2, 3.0), 1, 2.0
    )
    assert dict(found.startup_seconds) == {1: 2.0, 2: 3.0}


@pytest.mark.parametrize("phase", Phase)
def test_decisions_that_change_nothing_count_nothing(phase):
    assert counters.count_decision(Counters(), phase, phase, []) == Counters()
