"""The policy: what ends the supervisor, and with which code."""

import pytest

from drum_supervisor.supervise.policy.actions import (
    Alarm,
    CancelAlarm,
    Exit,
    KillAll,
    SaveReport,
    SetAlarm,
    StopAll,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    ErrorServerTtlExpired,
    EssentialProgramExited,
    RetryDue,
    StartupTimedOut,
    StopRequested,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
)
from drum_supervisor.supervise.policy.state import Limits, State, attempts_left
from tests.unit.policy_stories import (
    BAD,
    LATE,
    NO_DEADLINE,
    NO_RESTART,
    SEGFAULT,
    STOPPING,
    failed,
    retrying,
    serving,
    starting,
    stopping,
)


class TestWithoutErrorServer:
    @pytest.mark.parametrize(
        ("event", "report", "code"),
        [(WorkerInitFailed, BAD, 3), (WorkerExited, SEGFAULT, 139), (WorkerExited, BAD, 3), (StartupTimedOut, LATE, 4)],
    )
    def test_failure_ends_the_supervisor_with_the_code_of_its_cause(self, event, report, code):
        story = starting(error_server=False, max_retries=5, ttl=10.0)
        assert story(event, report) == [NO_DEADLINE, NO_RESTART, StopWorker(1), SaveReport(report), StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(code)]

    def test_crashes_end_it_too(self):
        story = serving(error_server=False, max_restarts=1)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert story(WorkerExited, SEGFAULT)[-1] == StopAll()
        assert story(AllStopped) == [Exit(5)]

    def test_death_that_allows_no_restart_is_told_as_the_signal(self):
        story = serving(error_server=False, max_restarts=0)
        story(WorkerExited, SEGFAULT)
        assert story(AllStopped) == [Exit(139)]

    def test_there_is_nothing_to_retry(self):
        assert attempts_left(State(), Limits(error_server=False, max_retries=5)) == 0


class TestTtl:
    def test_is_not_planned_for_ever(self):
        assert Alarm.TTL not in [getattr(action, "alarm", None) for action in starting(ttl=0.0)(WorkerInitFailed, BAD)]

    def test_begins_with_the_first_failure_and_not_with_each_retry(self):
        story = starting(ttl=100.0, max_retries=3)
        assert SetAlarm(Alarm.TTL, 100.0) in story(WorkerInitFailed, BAD)
        story(RetryDue)
        assert SetAlarm(Alarm.TTL, 100.0) not in story(WorkerInitFailed, BAD)

    def test_is_forgotten_when_the_service_is_back(self):
        story = failed(ttl=100.0, max_retries=1)
        story(RetryDue)
        assert CancelAlarm(Alarm.TTL) in story(WorkerReady)

    def test_begins_anew_with_the_next_failure(self):
        story = failed(ttl=100.0, max_retries=1, max_restarts=0)
        story(RetryDue)
        story(WorkerReady)
        assert SetAlarm(Alarm.TTL, 100.0) in story(WorkerExited, SEGFAULT)

    def test_ends_a_retry_that_is_under_way(self):
        story = retrying(ttl=100.0)
        assert story(ErrorServerTtlExpired) == [StopAll()]
        assert (story.phase, story.state.starting) == (STOPPING, set())

    @pytest.mark.parametrize(("report", "code"), [(BAD, 3), (LATE, 4), (SEGFAULT, 139)])
    def test_exit_code_is_that_of_the_last_failure(self, report, code):
        story = failed(ttl=100.0, max_retries=1)
        story(RetryDue)
        story(WorkerExited, report)
        story(ErrorServerTtlExpired)
        assert story(AllStopped) == [Exit(code)]

    @pytest.mark.parametrize("begin", [starting, serving, stopping])
    def test_that_rings_too_late_is_nothing(self, begin):
        story = begin()
        before = story.state
        assert (story(ErrorServerTtlExpired), story.state) == ([], before)


class TestEssentialEnded:
    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_is_the_end_with_its_own_code(self, begin):
        story = begin()
        assert story(EssentialProgramExited, 7, "metrics exited with status 7") == [StopAll()]
        assert (story.phase, story.state.exit_reason) == (STOPPING, "metrics exited with status 7")
        assert story(AllStopped) == [Exit(7)]

    def test_while_stopping_is_no_news(self):
        story = stopping()
        assert story(EssentialProgramExited, 7, "metrics exited with status 7") == []
        assert story(AllStopped) == [Exit(0)]


class TestStop:
    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_twice_kills(self, begin):
        story = begin()
        assert story(StopRequested) == [StopAll()]
        assert story(StopRequested) == [KillAll()]
        assert story(StopRequested) == [KillAll()]
        assert story(AllStopped) == [Exit(0)]

    def test_waits_until_everything_has_stopped(self):
        story = stopping()
        for event in (WorkerExited, WorkerInitFailed):
            assert story(event, SEGFAULT) == []
        assert story(WorkerReady) == []
        assert story(AllStopped) == [Exit(0)]

    def test_of_a_supervisor_that_gives_up_keeps_the_code_of_the_cause(self):
        story = starting(error_server=False)
        story(WorkerInitFailed, BAD)
        assert story(StopRequested) == [KillAll()]
        assert story(AllStopped) == [Exit(3)]

    def test_is_successful_also_after_a_failure(self):
        story = failed()
        story(StopRequested)
        assert story(AllStopped) == [Exit(0)]

    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_is_not_over_because_nothing_runs(self, begin):
        """Only a supervisor that is stopping ends."""
        assert begin()(AllStopped) == []
