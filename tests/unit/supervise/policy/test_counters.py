"""What the counters count while the policy decides on a sequence of events."""

import pytest

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy import counters, events
from drum_supervisor.supervise.policy.counters import Counters
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.table import decide

REPORT = FailureReport(Cause.INIT_FAILED, "bad weights")
LIMITS = Limits()
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "too late")


def count(*happened: events.Event, limits: Limits = LIMITS) -> Counters:
    state, found = State(), Counters()
    for event in (events.SupervisorStarted(0.0), *happened):
        before = state.phase
        state, actions = decide(state, event, limits)
        found = counters.count_decision(found, before, state.phase, actions)
    return found


def swaps(found: Counters) -> tuple[int, int]:
    return found.to_error_server, found.to_model_server


def test_every_cause_starts_at_zero():
    assert dict(Counters().failures) == dict.fromkeys(Cause, 0)


def test_first_ready_worker_is_not_a_swap():
    assert swaps(count(events.WorkerReady(1.0))) == (0, 0)


def test_failure_counts_by_cause_and_swaps():
    found = count(events.WorkerInitFailed(1.0, REPORT))
    assert (found.failures[Cause.INIT_FAILED], found.failures[Cause.STARTUP_TIMEOUT]) == (1, 0)
    assert swaps(found) == (1, 0)


def test_failed_retry_is_a_failure_but_not_a_swap():
    found = count(events.WorkerInitFailed(1.0, REPORT), events.RetryDue(2.0), events.StartupTimedOut(3.0, LATE))
    assert (found.failures[Cause.INIT_FAILED], found.failures[Cause.STARTUP_TIMEOUT]) == (1, 1)
    assert swaps(found) == (1, 0)


def test_successful_retry_swaps_back():
    assert swaps(count(events.WorkerInitFailed(1.0, REPORT), events.RetryDue(2.0), events.WorkerReady(3.0))) == (1, 1)


def test_restart_of_the_error_server_is_not_a_swap():
    found = count(
        events.WorkerInitFailed(1.0, REPORT), events.ErrorServerExited(2.0), events.ErrorServerRestartDue(3.0)
    )
    assert swaps(found) == (1, 0)


def test_without_error_server_there_is_no_swap():
    found = count(events.WorkerInitFailed(1.0, REPORT), limits=Limits(error_server=False))
    assert found.failures[Cause.INIT_FAILED] == 1
    assert swaps(found) == (0, 0)


def test_too_many_crashes_are_one_failure():
    crashes = [events.WorkerExited(float(at), REPORT) for at in range(10, 12)]
    found = count(events.WorkerReady(1.0), *crashes, limits=Limits(max_restarts=0))
    assert sum(found.failures.values()) == found.failures[Cause.DIED] == 1


def test_last_startup_time_of_each_slot_is_kept():
    found = counters.record_startup(
        counters.record_startup(counters.record_startup(Counters(), 1, 4.0), 2, 3.0), 1, 2.0
    )
    assert dict(found.startup_seconds) == {1: 2.0, 2: 3.0}


@pytest.mark.parametrize("phase", Phase)
def test_decision_without_actions_counts_nothing(phase):
    assert counters.count_decision(Counters(), phase, phase, []) == Counters()
