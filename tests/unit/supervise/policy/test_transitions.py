"""The policy: what ends the supervisor, and with which exit code."""

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
from drum_supervisor.supervise.policy.transitions import back_off
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
    def test_failure_ends_the_supervisor_with_its_exit_code(self, event, report, code):
        story = starting(error_server=False, max_retries=5, ttl=10.0)
        assert story(event, report) == [NO_DEADLINE, NO_RESTART, StopWorker(1), SaveReport(report), StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(code)]

    def test_too_many_crashes_end_the_supervisor(self):
        story = serving(error_server=False, max_restarts=1)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert story(WorkerExited, SEGFAULT)[-1] == StopAll()
        assert story(AllStopped) == [Exit(5)]

    def test_without_restarts_the_exit_code_is_the_signal(self):
        story = serving(error_server=False, max_restarts=0)
        story(WorkerExited, SEGFAULT)
        assert story(AllStopped) == [Exit(139)]

    def test_there_are_no_retries(self):
        assert attempts_left(State(), Limits(error_server=False, max_retries=5)) == 0


class TestTtl:
    def test_of_zero_is_unlimited(self):
        assert Alarm.TTL not in [getattr(action, "alarm", None) for action in starting(ttl=0.0)(WorkerInitFailed, BAD)]

    def test_starts_with_the_first_failure_only(self):
        story = starting(ttl=100.0, max_retries=3)
        assert SetAlarm(Alarm.TTL, 100.0) in story(WorkerInitFailed, BAD)
        story(RetryDue)
        assert SetAlarm(Alarm.TTL, 100.0) not in story(WorkerInitFailed, BAD)

    def test_is_cancelled_when_the_service_is_up(self):
        story = failed(ttl=100.0, max_retries=1)
        story(RetryDue)
        assert CancelAlarm(Alarm.TTL) in story(WorkerReady)

    def test_starts_again_with_the_next_failure(self):
        story = failed(ttl=100.0, max_retries=1, max_restarts=0)
        story(RetryDue)
        story(WorkerReady)
        assert SetAlarm(Alarm.TTL, 100.0) in story(WorkerExited, SEGFAULT)

    def test_ends_a_retry(self):
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
    def test_that_expires_too_late_is_ignored(self, begin):
        story = begin()
        before = story.state
        assert (story(ErrorServerTtlExpired), story.state) == ([], before)


class TestEssentialProgram:
    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_ends_the_supervisor_with_its_exit_code(self, begin):
        story = begin()
        assert story(EssentialProgramExited, 7, "metrics exited with status 7") == [StopAll()]
        assert (story.phase, story.state.exit_reason) == (STOPPING, "metrics exited with status 7")
        assert story(AllStopped) == [Exit(7)]

    def test_is_ignored_while_stopping(self):
        story = stopping()
        assert story(EssentialProgramExited, 7, "metrics exited with status 7") == []
        assert story(AllStopped) == [Exit(0)]


class TestStop:
    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_second_request_kills(self, begin):
        story = begin()
        assert story(StopRequested) == [StopAll()]
        assert story(StopRequested) == [KillAll()]
        assert story(StopRequested) == [KillAll()]
        assert story(AllStopped) == [Exit(0)]

    def test_waits_for_all_programs(self):
        story = stopping()
        for event in (WorkerExited, WorkerInitFailed):
            assert story(event, SEGFAULT) == []
        assert story(WorkerReady) == []
        assert story(AllStopped) == [Exit(0)]

    def test_while_giving_up_keeps_the_exit_code(self):
        story = starting(error_server=False)
        story(WorkerInitFailed, BAD)
        assert story(StopRequested) == [KillAll()]
        assert story(AllStopped) == [Exit(3)]

    def test_after_a_failure_exits_with_0(self):
        story = failed()
        story(StopRequested)
        assert story(AllStopped) == [Exit(0)]

    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_all_stopped_without_a_stop_is_ignored(self, begin):
        assert begin()(AllStopped) == []


def test_back_off_doubles_up_to_its_maximum():
    assert [back_off(1.0, times, 60.0) for times in (0, 1, 2, 5, 6, 10**6)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
