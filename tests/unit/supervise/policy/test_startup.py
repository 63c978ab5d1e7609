"""The policy: workers that start, one or several, and retries."""

from collections.abc import Callable

import pytest

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.supervise.policy.actions import (
    Alarm,
    CancelAlarm,
    SaveReport,
    SetAlarm,
    StartErrorServer,
    StartStandIn,
    StartWorker,
    StopErrorServer,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    Event,
    FailedProbation,
    RestartRequested,
    RetryDue,
    StartupTimedOut,
    StopRequested,
    SupervisorStarted,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
)
from drum_supervisor.supervise.policy.state import Limits, attempts_left
from drum_supervisor.supervise.policy.transitions import MAX_RETRY_INTERVAL, retry_delay
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    FAILED,
    LATE,
    NO_DEADLINE,
    NO_RESTART,
    PERMANENT,
    RETRY_10_S,
    RETRYING,
    SEGFAULT,
    SERVING,
    STARTING,
    WORSE,
    Story,
    failed,
    retrying,
    serving,
    started,
    starting,
    stopped,
)


class TestSeveralWorkers:
    def test_all_are_started(self):
        assert Story(Limits(workers=3))(SupervisorStarted) == [*started(1, 2, 3), DEADLINE]

    def test_first_ready_worker_makes_the_service_ready(self):
        story = starting(workers=2)
        assert story(WorkerReady, 2) == []
        assert story.phase is SERVING
        assert (story.state.ready, story.state.starting) == ({2}, {1})

    def test_last_ready_worker_cancels_the_deadline(self):
        story = starting(workers=2)
        story(WorkerReady, 2)
        assert story(WorkerReady, 1) == [NO_DEADLINE]
        assert (story.state.ready, story.state.starting) == ({1, 2}, set())

    def test_one_of_several_fails(self):
        story = starting(workers=2)
        assert story(WorkerInitFailed, BAD, 1) == [StopWorker(1)]
        assert story.phase is STARTING
        assert story.state.starting == {2}

    def test_others_may_become_ready(self):
        story = starting(workers=3)
        story(WorkerInitFailed, BAD, 1)
        story(WorkerExited, SEGFAULT, 3)
        story(WorkerReady, 2)
        assert story.phase is SERVING

    @pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
    def test_all_fail_with_the_report_of_the_last(self, order):
        story = starting(workers=3)
        for worker in order[:2]:
            story(WorkerInitFailed, BAD, worker)
        actions = story(WorkerInitFailed, WORSE, order[2])
        assert actions == [NO_DEADLINE, NO_RESTART, *stopped(1, 2, 3), SaveReport(WORSE), StartErrorServer()]
        assert story.phase is FAILED

    def test_one_that_fails_while_serving_is_restarted(self):
        story = starting(workers=2)
        story(WorkerReady, 1)
        assert story(WorkerInitFailed, BAD, 2) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert story.phase is SERVING

    def test_failed_probation_while_others_serve_is_a_crash(self):
        story = serving(workers=2)
        assert story(FailedProbation, BAD, 1) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is SERVING

    def test_deadline_gives_up_starting_workers(self):
        story = starting(workers=3)
        story(WorkerReady, 2)
        assert story(StartupTimedOut, LATE) == [NO_RESTART, *stopped(1, 3)]
        assert story.phase is SERVING
        assert (story.state.ready, story.state.starting) == ({2}, set())

    def test_deadline_without_a_ready_worker_is_a_failure(self):
        story = starting(workers=2)
        story(WorkerInitFailed, BAD, 1)
        story(StartupTimedOut, LATE)
        assert story.phase is FAILED

    def test_one_that_crashes_while_others_serve_is_restarted(self):
        story = serving(workers=2)
        assert story(WorkerExited, SEGFAULT, 1) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is SERVING
        assert story(WorkerReady, 1) == [NO_DEADLINE]

    def test_crash_of_all_enters_starting(self):
        story = serving(workers=2)
        story(WorkerExited, SEGFAULT, 1)
        assert story(WorkerExited, SEGFAULT, 2) == [
            StopWorker(2),
            SetAlarm(Alarm.WORKER, 1.0, 2),
            SetAlarm(Alarm.DEADLINE, 601.0),
        ]
        assert story.phase is STARTING
        assert story.state.starting == {1, 2}

    def test_one_that_crashes_too_often_is_given_up(self):
        story = serving(workers=2, max_restarts=1)
        story(WorkerExited, SEGFAULT, 1)
        story(WorkerReady, 1)
        assert story(WorkerExited, SEGFAULT, 1) == [StopWorker(1)]
        assert story.phase is SERVING
        assert (story.state.ready, story.state.starting) == ({2}, set())

    def test_last_one_that_crashes_too_often_fails_the_service(self):
        story = serving(workers=2, max_restarts=1)
        for worker in (1, 1, 2):
            story(WorkerExited, SEGFAULT, worker)
        assert story.phase is FAILED
        assert story.state.report.cause is Cause.KEPT_DYING

    def test_one_is_given_up_while_another_is_starting(self):
        story = serving(workers=2, max_restarts=1, stand_in=True)
        story(WorkerExited, SEGFAULT, 1)
        assert story(WorkerExited, SEGFAULT, 2) == [StartStandIn(), StopWorker(2), DEADLINE]
        assert (story.phase, story.state.starting) == (STARTING, {1})

    def test_retry_starts_all_and_needs_one_ready_worker(self):
        story = failed(workers=2, max_retries=1)
        assert story(RetryDue) == [CancelAlarm(Alarm.RETRY), *started(1, 2), DEADLINE]
        assert story(WorkerInitFailed, BAD, 1) == [StopWorker(1)]
        assert story(WorkerReady, 2) == [CancelAlarm(Alarm.TTL), StopErrorServer(), SetAlarm(Alarm.WORKER, 1.0, 1)]
        assert story.phase is SERVING

    def test_failed_worker_is_reported_until_it_is_ready(self):
        story = starting(workers=2)
        story(WorkerInitFailed, BAD, 1)
        assert story(WorkerReady, 2) == [SetAlarm(Alarm.WORKER, 1.0, 1)]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {2}, {1})
        assert story(WorkerRestartDue, 1) == [StartWorker(1)]
        assert story(WorkerReady, 1) == [NO_DEADLINE]
        assert story.state.report is None

    def test_worker_that_is_given_up_stays_reported(self):
        story = starting(workers=2, max_restarts=0)
        story(WorkerInitFailed, BAD, 1)
        assert story(WorkerReady, 2) == [NO_DEADLINE]
        assert (story.state.ready, story.state.starting, story.state.report) == ({2}, set(), BAD)

    def test_retry_fails_when_all_workers_fail(self):
        story = failed(workers=2, max_retries=1)
        story(RetryDue)
        story(WorkerInitFailed, BAD, 1)
        assert story.phase is RETRYING
        story(WorkerInitFailed, WORSE, 2)
        assert (story.phase, story.state.report) == (FAILED, WORSE)

    def test_ready_after_failed_is_ignored(self):
        """Both can happen in the same turn of the loop."""
        story = starting(workers=2)
        story(WorkerInitFailed, BAD, 1)
        assert story(WorkerReady, 1) == []
        assert (story.phase, story.state.ready) == (STARTING, set())
        story(StopRequested)
        assert story(WorkerReady, 1) == []


class TestRetries:
    def retry(
        self, story: Story, event: Callable[..., Event] = WorkerInitFailed, report: FailureReport = BAD
    ) -> list[float]:
        """Let a retry fail; return the delay of the next one, if it is scheduled."""
        story(RetryDue)
        return [
            action.after
            for action in story(event, report)
            if isinstance(action, SetAlarm) and action.alarm is Alarm.RETRY
        ]

    def test_delay_doubles_up_to_five_minutes(self):
        story = failed(max_retries=8)
        planned = [self.retry(story) for _ in range(8)]
        assert planned == [[20.0], [40.0], [80.0], [160.0], [300.0], [300.0], [300.0], []]

    def test_are_limited(self):
        story = failed(max_retries=2)
        assert [attempts_left(story.state, story.limits)] == [2]
        self.retry(story)
        assert [attempts_left(story.state, story.limits)] == [1]
        assert self.retry(story) == []
        assert [attempts_left(story.state, story.limits)] == [0]
        assert story.phase is FAILED

    def test_are_not_scheduled_with_a_limit_of_zero(self):
        assert not any(isinstance(action, SetAlarm) for action in starting(max_retries=0)(WorkerInitFailed, BAD))

    def test_delay_is_at_least_the_interval(self):
        limits = Limits(retry_interval=1000.0)
        assert [retry_delay(number, limits) for number in (0, 1, 5)] == [1000.0] * 3

    @pytest.mark.parametrize("interval", [0.0, 0.5, 10.0, 300.0, 1e9])
    def test_delay_never_shrinks_and_has_a_maximum(self, interval):
        limits = Limits(retry_interval=interval)
        delays = [retry_delay(number, limits) for number in range(200)]
        assert delays == sorted(delays)
        assert delays[0] == interval
        assert delays[-1] <= max(MAX_RETRY_INTERVAL, interval)

    @pytest.mark.parametrize("report", [BAD, SEGFAULT, LATE])
    def test_follow_every_kind_of_failure(self, report):
        assert starting(max_retries=1)(WorkerExited, report)[-1] == RETRY_10_S

    @pytest.mark.parametrize("event", [WorkerInitFailed, WorkerExited])
    def test_do_not_follow_a_permanent_failure(self, event):
        story = starting(max_retries=3)
        assert not any(isinstance(action, SetAlarm) for action in story(event, PERMANENT))
        assert (story.phase, attempts_left(story.state, story.limits)) == (FAILED, 0)

    def test_end_with_a_permanent_failure(self):
        story = retrying()
        assert not any(isinstance(action, SetAlarm) for action in story(WorkerInitFailed, PERMANENT))

    def test_follow_a_permanent_failure_if_enabled(self):
        story = starting(max_retries=3, retry_permanent=True)
        assert story(WorkerInitFailed, PERMANENT)[-1] == RETRY_10_S
        assert attempts_left(story.state, story.limits) == 3

    def test_requested_restart_enables_retries_again(self):
        story = failed(PERMANENT, max_retries=3)
        assert StartWorker(1) in story(RestartRequested)
        assert attempts_left(story.state, story.limits) == 3
        assert story(WorkerInitFailed, BAD)[-1] == RETRY_10_S

    def test_follow_too_many_crashes(self):
        assert serving(max_retries=1, max_restarts=0)(WorkerExited, SEGFAULT)[-1] == RETRY_10_S

    def test_attempts_are_counted_until_ready(self):
        story = failed(max_retries=3)
        assert story.state.attempt == 1
        self.retry(story)
        assert story.state.attempt == 2
        story(RetryDue)
        assert (story.state.attempt, story.state.retry_restarts) == (3, 2)
        story(WorkerReady)
        assert (story.state.attempt, story.state.retries, story.state.report) == (1, 0, None)

    def test_error_server_keeps_running_with_the_new_report(self):
        story = failed(max_retries=3)
        assert StopErrorServer() not in story(RetryDue)
        actions = story(WorkerInitFailed, WORSE)
        assert actions.index(SaveReport(WORSE)) < actions.index(StartErrorServer())

    def test_old_report_stays_until_the_retry_fails(self):
        story = failed(max_retries=3)
        story(RetryDue)
        assert story.state.report == BAD
