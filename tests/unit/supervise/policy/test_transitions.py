"""The policy: what ends the supervisor, and with which code."""

import pytest

from drum_supervisor.supervise.policy.actions import Alarm, Cancel, Exit, KeepReport, KillAll, Plan, StopAll, StopWorker
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    DeadlinePassed,
    EssentialEnded,
    Exited,
    InitFailed,
    Ready,
    RetryDue,
    StopRequested,
    TtlOver,
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
        [(InitFailed, BAD, 3), (Exited, SEGFAULT, 139), (Exited, BAD, 3), (DeadlinePassed, LATE, 4)],
    )
    def test_failure_ends_the_supervisor_with_the_code_of_its_cause(self, event, report, code):
        story = starting(error_server=False, max_retries=5, ttl=10.0)
        assert story(event, report) == [NO_DEADLINE, NO_RESTART, StopWorker(1), KeepReport(report), StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(code)]

    def test_crashes_end_it_too(self):
        story = serving(error_server=False, max_restarts=1)
        story(Exited, SEGFAULT)
        story(Ready)
        assert story(Exited, SEGFAULT)[-1] == StopAll()
        assert story(AllStopped) == [Exit(5)]

    def test_death_that_allows_no_restart_is_told_as_the_signal(self):
        story = serving(error_server=False, max_restarts=0)
        story(Exited, SEGFAULT)
        assert story(AllStopped) == [Exit(139)]

    def test_there_is_nothing_to_retry(self):
        assert attempts_left(State(), Limits(error_server=False, max_retries=5)) == 0


class TestTtl:
    def test_is_not_planned_for_ever(self):
        assert Alarm.END not in [getattr(action, "alarm", None) for action in starting(ttl=0.0)(InitFailed, BAD)]

    def test_begins_with_the_first_failure_and_not_with_each_retry(self):
        story = starting(ttl=100.0, max_retries=3)
        assert Plan(Alarm.END, 100.0) in story(InitFailed, BAD)
        story(RetryDue)
        assert Plan(Alarm.END, 100.0) not in story(InitFailed, BAD)

    def test_is_forgotten_when_the_service_is_back(self):
        story = failed(ttl=100.0, max_retries=1)
        story(RetryDue)
        assert Cancel(Alarm.END) in story(Ready)

    def test_begins_anew_with_the_next_failure(self):
        story = failed(ttl=100.0, max_retries=1, max_restarts=0)
        story(RetryDue)
        story(Ready)
        assert Plan(Alarm.END, 100.0) in story(Exited, SEGFAULT)

    def test_ends_a_retry_that_is_under_way(self):
        story = retrying(ttl=100.0)
        assert story(TtlOver) == [StopAll()]
        assert (story.phase, story.state.coming) == (STOPPING, set())

    @pytest.mark.parametrize(("report", "code"), [(BAD, 3), (LATE, 4), (SEGFAULT, 139)])
    def test_exit_code_is_that_of_the_last_failure(self, report, code):
        story = failed(ttl=100.0, max_retries=1)
        story(RetryDue)
        story(Exited, report)
        story(TtlOver)
        assert story(AllStopped) == [Exit(code)]

    @pytest.mark.parametrize("begin", [starting, serving, stopping])
    def test_that_rings_too_late_is_nothing(self, begin):
        story = begin()
        before = story.state
        assert (story(TtlOver), story.state) == ([], before)


class TestEssentialEnded:
    @pytest.mark.parametrize("begin", [starting, serving, failed, retrying])
    def test_is_the_end_with_its_own_code(self, begin):
        story = begin()
        assert story(EssentialEnded, 7, "metrics exited with status 7") == [StopAll()]
        assert (story.phase, story.state.ended_by) == (STOPPING, "metrics exited with status 7")
        assert story(AllStopped) == [Exit(7)]

    def test_while_stopping_is_no_news(self):
        story = stopping()
        assert story(EssentialEnded, 7, "metrics exited with status 7") == []
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
        for event in (Exited, InitFailed):
            assert story(event, SEGFAULT) == []
        assert story(Ready) == []
        assert story(AllStopped) == [Exit(0)]

    def test_of_a_supervisor_that_gives_up_keeps_the_code_of_the_cause(self):
        story = starting(error_server=False)
        story(InitFailed, BAD)
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
