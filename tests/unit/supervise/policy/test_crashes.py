"""The policy: workers that fail after they were ready."""

from dataclasses import replace

import pytest

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy.actions import (
    Action,
    Alarm,
    Exit,
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
    FailedProbation,
    LivenessFailed,
    OwnWorkerOomKilled,
    RestartRequested,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
)
from drum_supervisor.supervise.policy.state import Limits
from drum_supervisor.supervise.policy.table import decide
from drum_supervisor.supervise.policy.transitions import MAX_RESTART_DELAY, restart_delay
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    FAILED,
    HANGS,
    NO_DEADLINE,
    NO_RESTART,
    RETRY_10_S,
    SEGFAULT,
    SERVING,
    STARTING,
    TOO_LARGE,
    Story,
    failed,
    retrying,
    serving,
    started,
    starting,
    stopped,
    stopping,
)


class TestCrashes:
    def crash(self, story: Story) -> list[Action]:
        """Let the worker exit, and be ready again if it is restarted."""
        actions = story(WorkerExited, SEGFAULT)
        for action in actions:
            if isinstance(action, SetAlarm) and action.alarm is Alarm.WORKER:
                story.wait(action.after)
                assert story(WorkerRestartDue, action.worker) == [StartWorker(1)]
        story(WorkerReady)
        return actions

    def test_delay_of_restarts_doubles_after_the_first(self):
        story = serving(max_restarts=9, restart_window=3600.0)
        planned = [self.crash(story)[1] for _ in range(9)]
        delays = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        assert planned == [StartWorker(1), *(SetAlarm(Alarm.WORKER, delay, 1) for delay in delays)]

    def test_deadline_includes_the_delay_of_the_restart(self):
        """Otherwise a short time-out could pass before the worker is started."""
        story = serving(startup_timeout=2.0, restart_window=3600.0)
        deadlines = [self.crash(story)[2].after for _ in range(5)]
        assert deadlines == [2.0, 3.0, 4.0, 6.0, 10.0]

    def test_one_more_than_the_limit_is_a_failure(self):
        story = serving(max_restarts=3)
        for _ in range(3):
            self.crash(story)
            assert story.phase is SERVING
        self.crash(story)
        assert story.phase is FAILED
        assert story.state.report == replace(SEGFAULT, cause=Cause.KEPT_DYING)
        assert story.state.report.exit_code == 5

    def test_crashes_before_the_window_do_not_count(self):
        story = serving(max_restarts=1, restart_window=60.0)
        for _ in range(20):
            assert self.crash(story)[1] == StartWorker(1)
            story.wait(60.0)
        assert story.phase is SERVING
        assert len(story.state.crashes) == 1

    @pytest.mark.parametrize(("later", "phase"), [(59.9, FAILED), (60.0, STARTING)])
    def test_window_has_an_exact_end(self, later, phase):
        state = replace(serving(max_restarts=1).state, crashes=(100.0,))
        state, _ = decide(state, WorkerExited(100.0 + later, SEGFAULT), Limits(max_restarts=1, restart_window=60.0))
        assert state.phase is phase

    def test_without_a_window_only_one_crash_counts(self):
        story = serving(max_restarts=1, restart_window=0.0)
        for _ in range(50):
            self.crash(story)
        assert story.phase is SERVING

    def test_limit_of_zero_allows_no_crash(self):
        story = serving(max_restarts=0)
        story(WorkerExited, BAD)
        assert story.state.report == replace(BAD, cause=Cause.DIED)

    def test_failed_restart_is_a_failure_at_any_limit(self):
        story = serving(max_restarts=5)
        story(WorkerExited, SEGFAULT)
        story(WorkerInitFailed, BAD)
        assert (story.phase, story.state.report) == (FAILED, BAD)

    def test_restarts_are_counted(self):
        story = serving(max_restarts=9)
        for _ in range(4):
            self.crash(story)
        assert (story.state.crash_restarts, story.state.requested_restarts, story.state.retry_restarts) == (4, 0, 0)

    def test_due_restart_of_a_worker_that_is_not_starting(self):
        assert serving()(WorkerRestartDue, 1) == []
        assert failed()(WorkerRestartDue, 1) == []
        assert retrying()(WorkerRestartDue, 1) == []

    @pytest.mark.parametrize("crashes", range(200))
    def test_delay_never_shrinks_and_has_a_maximum(self, crashes):
        assert 0.0 <= restart_delay(crashes) <= restart_delay(crashes + 1) <= MAX_RESTART_DELAY


class TestFailedProbation:
    def test_is_a_failure_without_a_restart(self):
        story = serving()
        actions = story(FailedProbation, BAD)
        assert actions == [NO_DEADLINE, NO_RESTART, StopWorker(1), SaveReport(BAD), StartErrorServer()]
        assert story.phase is FAILED
        assert story.state.crashes == ()

    def test_may_be_retried_later(self):
        assert serving(max_retries=1)(FailedProbation, BAD)[-1] == RETRY_10_S

    def test_without_error_server_stops_the_supervisor(self):
        story = serving(error_server=False)
        assert story(FailedProbation, BAD)[-1] == StopAll()
        assert story.state.exit_code == 3


class TestLivenessFailed:
    def test_restarts_the_worker(self):
        story = serving()
        assert story(LivenessFailed, HANGS) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.report, story.state.crash_restarts) == (STARTING, None, 1)
        assert story(WorkerReady) == [NO_DEADLINE]

    def test_starts_the_stand_in(self):
        assert serving(stand_in=True)(LivenessFailed, HANGS)[0] == StartStandIn()

    def test_counts_as_a_crash(self):
        story = serving(max_restarts=2)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert SetAlarm(Alarm.WORKER, 1.0, 1) in story(LivenessFailed, HANGS)
        story(WorkerReady)
        assert story(LivenessFailed, HANGS)[-2:] == [SaveReport(story.state.report), StartErrorServer()]
        assert (story.phase, story.state.report) == (FAILED, replace(HANGS, cause=Cause.KEPT_DYING))
        assert story.state.report.exit_code == 5

    def test_without_restarts_is_a_failure(self):
        story = serving(max_restarts=0, error_server=False)
        assert story(LivenessFailed, HANGS)[-1] == StopAll()
        assert story.state.report == replace(HANGS, cause=Cause.DIED)
        assert story(AllStopped) == [Exit(5)]

    def test_crashes_before_the_window_do_not_count(self):
        story = serving(max_restarts=1, restart_window=60.0)
        for _ in range(20):
            assert StartWorker(1) in story(LivenessFailed, HANGS)
            story(WorkerReady)
            story.wait(60.0)

    def test_may_be_retried_later(self):
        assert serving(max_restarts=0, max_retries=1)(LivenessFailed, HANGS)[-1] == RETRY_10_S

    def test_restarts_all_ready_workers_as_one_crash(self):
        story = serving(workers=3)
        assert story(LivenessFailed, HANGS) == [*stopped(1, 2, 3), *started(1, 2, 3), DEADLINE]
        assert (story.phase, story.state.starting, len(story.state.crashes)) == (STARTING, {1, 2, 3}, 1)
        assert story.state.crash_restarts == 1

    def test_delays_the_restart_of_each_worker(self):
        story = serving(workers=2)
        story(LivenessFailed, HANGS)
        for worker in (1, 2):
            story(WorkerReady, worker)
        planned = [SetAlarm(Alarm.WORKER, 1.0, 1), SetAlarm(Alarm.WORKER, 1.0, 2)]
        assert story(LivenessFailed, HANGS) == [*stopped(1, 2), *planned, SetAlarm(Alarm.DEADLINE, 601.0)]

    def test_leaves_a_starting_worker_alone(self):
        story = serving(workers=2)
        story(WorkerExited, SEGFAULT, 2)
        actions = story(LivenessFailed, HANGS)
        assert StopWorker(2) not in actions
        assert (story.phase, story.state.starting) == (STARTING, {1, 2})

    def test_too_many_crashes_leave_a_starting_worker_alone(self):
        story = serving(workers=2, max_restarts=1)
        story(WorkerExited, SEGFAULT, 2)
        assert story(LivenessFailed, HANGS) == [StopWorker(1), DEADLINE]
        assert (story.phase, story.state.starting, story.state.report) == (STARTING, {2}, HANGS)

    @pytest.mark.parametrize("begin", [starting, failed, retrying, stopping])
    def test_is_ignored_without_a_ready_worker(self, begin):
        """The worker exited, or a restart was requested, in the same turn."""
        story = begin()
        before = story.state
        assert (story(LivenessFailed, HANGS), story.state) == ([], before)


class TestOwnWorkersOomKilled:
    def test_count_as_crashes_without_a_restart(self):
        story = serving(max_restarts=2)
        assert [story(OwnWorkerOomKilled, TOO_LARGE) for _ in range(2)] == [[], []]
        assert (story.phase, story.state.ready, story.state.report) == (SERVING, {1}, None)
        assert (len(story.state.crashes), story.state.crash_restarts) == (2, 0)

    def test_one_too_many_is_a_failure_with_its_report(self):
        story = serving(max_restarts=1, max_retries=1)
        story(OwnWorkerOomKilled, TOO_LARGE)
        dying = replace(TOO_LARGE, cause=Cause.KEPT_DYING)
        failing = [NO_DEADLINE, NO_RESTART, StopWorker(1), SaveReport(dying), StartErrorServer()]
        assert story(OwnWorkerOomKilled, TOO_LARGE) == [*failing, RETRY_10_S]
        assert (story.phase, story.state.report) == (FAILED, dying)

    def test_count_together_with_crashes(self):
        story = serving(max_restarts=1)
        story(OwnWorkerOomKilled, TOO_LARGE)
        story(WorkerExited, SEGFAULT)
        assert story.phase is FAILED

    def test_before_the_window_do_not_count(self):
        story = serving(max_restarts=1)
        for _ in range(20):
            story(OwnWorkerOomKilled, TOO_LARGE)
            story.wait(60.0)
        assert story.phase is SERVING

    def test_without_restarts_the_exit_code_is_the_signal(self):
        story = serving(max_restarts=0, error_server=False)
        assert story(OwnWorkerOomKilled, TOO_LARGE)[-1] == StopAll()
        assert (story.state.report.cause, story.state.exit_code) == (Cause.DIED, 137)

    def test_of_one_server_leave_the_other_serving(self):
        story = serving(workers=2, max_restarts=0)
        assert story(OwnWorkerOomKilled, TOO_LARGE, 2) == [StopWorker(2)]
        assert (story.phase, story.state.ready, story.state.report) == (SERVING, {1}, TOO_LARGE)

    def test_of_a_server_that_is_not_ready_are_ignored(self):
        story = serving(workers=2, max_restarts=0)
        story(RestartRequested, 2)
        assert story(OwnWorkerOomKilled, TOO_LARGE, 2) == []
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, {2})
