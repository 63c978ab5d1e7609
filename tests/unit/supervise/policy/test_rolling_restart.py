"""The policy: rolling restarts, with and without overlap."""

import pytest

from drum_supervisor.supervise.policy.actions import Alarm, CancelAlarm, SetAlarm, StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import (
    LivenessFailed,
    RestartCause,
    RestartRequested,
    RetryDue,
    StartupTimedOut,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.state import attempts_left, wanted_workers
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    FAILED,
    HANGS,
    LATE,
    NO_DEADLINE,
    NO_RESTART,
    RETRY_10_S,
    RETRYING,
    SEGFAULT,
    SERVING,
    STARTING,
    failed,
    retrying,
    serving,
    started,
    starting,
    stopping,
)


class TestRestart:
    def test_while_starting_restarts_the_starting_worker(self):
        story = starting()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (STARTING, {1})

    def test_while_serving_restarts_one_after_another(self):
        story = serving(workers=2)
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {2}, {1})
        assert story(WorkerReady, 1) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, {2})
        assert story(WorkerReady, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.rolling_restart, story.state.requested_restarts) == (SERVING, None, 1)

    def test_is_aborted_by_the_first_failure(self):
        story = serving(workers=3)
        story(RestartRequested)
        story(WorkerReady, 1)
        story(WorkerInitFailed, BAD, 2)
        assert (story.phase, story.state.ready, story.state.rolling_restart) == (SERVING, {1, 3}, None)
        assert story.state.restart_failure == BAD

    def test_of_the_only_worker_fails_the_service(self):
        story = serving()
        story(RestartRequested)
        story(WorkerInitFailed, BAD)
        assert (story.phase, story.state.report, story.state.restart_failure) == (FAILED, BAD, None)
        story(RestartRequested)
        story(WorkerReady)
        assert (story.phase, story.state.restart_failure) == (SERVING, None)

    def test_waits_for_a_starting_worker(self):
        story = serving(workers=3)
        story(WorkerExited, SEGFAULT, 3)
        assert story(RestartRequested, 1) == [DEADLINE]
        assert story(WorkerReady, 3) == [StopWorker(1), StartWorker(1), DEADLINE]

    def test_second_request_restarts_all_again(self):
        story = serving(workers=2)
        story(RestartRequested)
        story(RestartRequested)
        replaced = [story(WorkerReady, worker)[0] for worker in (1, 2, 1)]
        assert replaced == [StopWorker(2), StopWorker(1), NO_DEADLINE]

    def test_of_one_worker_leaves_the_others_serving(self):
        story = serving(workers=2)
        assert story(RestartRequested, 2) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, {2})

    def test_of_the_only_worker_enters_starting(self):
        story = serving()
        story(RestartRequested, 1)
        assert story.phase is STARTING

    def test_while_failed_retries_all_workers(self):
        story = failed(workers=2)
        assert story(RestartRequested, 2) == [CancelAlarm(Alarm.RETRY), *started(1, 2), DEADLINE]
        assert (story.phase, story.state.attempt) == (RETRYING, 2)

    def test_while_retrying_restarts_the_attempt(self):
        story = retrying()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (RETRYING, {1})

    def test_while_stopping_is_ignored(self):
        story = stopping()
        before = story.state
        assert (story(RestartRequested), story.state) == ([], before)

    def test_makes_retries_available_again(self):
        story = failed(max_retries=1)
        story(RetryDue)
        story(WorkerInitFailed, BAD)
        assert attempts_left(story.state, story.limits) == 0
        story(RestartRequested)
        assert story(WorkerInitFailed, BAD)[-1] == RETRY_10_S

    def test_does_not_count_as_a_crash(self):
        story = serving(max_restarts=0)
        for _ in range(3):
            story(RestartRequested)
            story(WorkerReady)
        assert (story.phase, story.state.crashes, story.state.requested_restarts) == (SERVING, (), 3)

    def test_that_cannot_initialize_is_a_failure(self):
        story = serving()
        story(RestartRequested)
        story(WorkerInitFailed, BAD)
        assert story.phase is FAILED

    def test_starts_a_worker_that_was_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert StartWorker(1) in story(RestartRequested, 1)
        story(WorkerReady, 1)
        assert story.state.ready == {1, 2}

    def test_replaces_a_scheduled_restart(self):
        story = serving(max_restarts=9)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert SetAlarm(Alarm.WORKER, 1.0, 1) in story(WorkerExited, SEGFAULT)
        assert StartWorker(1) in story(RestartRequested)
        story(WorkerReady)
        assert story(WorkerRestartDue, 1) == []


class TestOverlap:
    """With two workers, 3 is the standby of 1, and 4 of 2."""

    def test_successor_is_ready_before_its_predecessor_stops(self):
        story = serving(workers=2)
        assert story(RestartRequested, None, overlap=True) == [StartWorker(3), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1, 2}, {3})
        assert story(WorkerReady, 3) == [StopWorker(1)]
        assert (story.state.ready, wanted_workers(story.state, story.limits)) == ({2, 3}, {2, 3})
        assert story(WorkerStopped, 1) == [StartWorker(4), DEADLINE]
        assert story(WorkerReady, 4) == [StopWorker(2)]
        assert story(WorkerStopped, 2) == []
        assert (story.state.ready, story.state.rolling_restart) == ({3, 4}, None)

    def test_worker_and_standby_alternate(self):
        story = serving()
        for successor, predecessor in ((2, 1), (1, 2)):
            assert story(RestartRequested, 1, overlap=True) == [StartWorker(successor), DEADLINE]
            assert story(WorkerReady, successor) == [StopWorker(predecessor)]
            story(WorkerStopped, predecessor)
        assert story.phase is SERVING

    @pytest.mark.parametrize("kind", [WorkerInitFailed, WorkerExited])
    def test_failed_successor_leaves_its_predecessor_serving(self, kind):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        assert story(kind, BAD, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, set())
        assert (story.state.restart_failure, story.state.report, story.state.crashes) == (BAD, None, ())

    def test_late_successor_leaves_its_predecessor_serving(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(StartupTimedOut, LATE) == [NO_RESTART, StopWorker(2)]
        assert (story.phase, story.state.ready, story.state.restart_failure) == (SERVING, {1}, LATE)

    def test_next_request_clears_the_failure(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(WorkerInitFailed, BAD, 2)
        story(RestartRequested, None, overlap=True)
        assert story.state.restart_failure is None

    def test_crash_of_a_predecessor_needs_no_restart(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(WorkerExited, SEGFAULT, 1) == [StopWorker(1), DEADLINE]
        assert (story.phase, story.state.starting, story.state.crash_restarts) == (STARTING, {2}, 1)
        story(WorkerReady, 2)
        assert (story.phase, story.state.ready, story.state.rolling_restart) == (SERVING, {2}, None)

    def test_successor_that_crashes_later_is_restarted(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(WorkerReady, 2)
        story(WorkerStopped, 1)
        assert story(WorkerExited, SEGFAULT, 2) == [StopWorker(2), StartWorker(2), DEADLINE]

    def test_failed_service_stops_worker_and_standby(self):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        story(WorkerReady, 2)
        assert {StopWorker(1), StopWorker(2)} <= set(story(WorkerExited, SEGFAULT, 2))
        assert story.phase is FAILED

    def test_failed_liveness_restarts_without_overlap(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(LivenessFailed, HANGS) == [StopWorker(2), StopWorker(1), StartWorker(1), DEADLINE]
        assert story.state.restart_failure == HANGS

    def test_worker_that_does_not_serve_is_restarted_at_once(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(RestartRequested, 1, overlap=True) == [StopWorker(1), StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("cause", RestartCause)
    def test_is_counted_by_its_cause(self, cause):
        story = serving()
        story(RestartRequested, 1, overlap=True, cause=cause)
        state = story.state
        counts = (state.requested_restarts, state.memory_limit_restarts, state.request_limit_restarts)
        assert counts == tuple(int(each is cause) for each in RestartCause)
