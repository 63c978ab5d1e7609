"""The policy: workers that are replaced, one after the other or with overlap."""

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
    def test_while_starting_replaces_what_is_on_its_way(self):
        story = starting()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (STARTING, {1})

    def test_while_serving_replaces_one_after_the_other(self):
        story = serving(workers=2)
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {2}, {1})
        assert story(WorkerReady, 1) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, {2})
        assert story(WorkerReady, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.rolling_restart, story.state.requested_restarts) == (SERVING, None, 1)

    def test_of_several_goes_no_further_than_the_first_that_fails(self):
        story = serving(workers=3)
        story(RestartRequested)
        story(WorkerReady, 1)
        story(WorkerInitFailed, BAD, 2)
        assert (story.phase, story.state.ready, story.state.rolling_restart) == (SERVING, {1, 3}, None)
        assert story.state.restart_failure == BAD

    def test_that_fails_for_good_is_told_as_a_failure_of_the_service_and_is_over_with_it(self):
        story = serving()
        story(RestartRequested)
        story(WorkerInitFailed, BAD)
        assert (story.phase, story.state.report, story.state.restart_failure) == (FAILED, BAD, None)
        story(RestartRequested)
        story(WorkerReady)
        assert (story.phase, story.state.restart_failure) == (SERVING, None)

    def test_waits_for_a_worker_that_is_just_coming_back(self):
        story = serving(workers=3)
        story(WorkerExited, SEGFAULT, 3)
        assert story(RestartRequested, 1) == [DEADLINE]
        assert story(WorkerReady, 3) == [StopWorker(1), StartWorker(1), DEADLINE]

    def test_asked_for_twice_is_done_twice(self):
        story = serving(workers=2)
        story(RestartRequested)
        story(RestartRequested)
        replaced = [story(WorkerReady, worker)[0] for worker in (1, 2, 1)]
        assert replaced == [StopWorker(2), StopWorker(1), NO_DEADLINE]

    def test_of_one_worker_leaves_the_others_serving(self):
        story = serving(workers=2)
        assert story(RestartRequested, 2) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, {2})

    def test_of_the_only_worker_is_starting(self):
        story = serving()
        story(RestartRequested, 1)
        assert story.phase is STARTING

    def test_while_failed_is_one_more_attempt_of_all_workers(self):
        story = failed(workers=2)
        assert story(RestartRequested, 2) == [CancelAlarm(Alarm.RETRY), *started(1, 2), DEADLINE]
        assert (story.phase, story.state.attempt) == (RETRYING, 2)

    def test_while_retrying_begins_the_attempt_anew(self):
        story = retrying()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (RETRYING, {1})

    def test_while_stopping_is_too_late(self):
        story = stopping()
        before = story.state
        assert (story(RestartRequested), story.state) == ([], before)

    def test_gives_the_retries_back(self):
        story = failed(max_retries=1)
        story(RetryDue)
        story(WorkerInitFailed, BAD)
        assert attempts_left(story.state, story.limits) == 0
        story(RestartRequested)
        assert story(WorkerInitFailed, BAD)[-1] == RETRY_10_S

    def test_is_no_crash(self):
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

    def test_brings_back_a_worker_that_was_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert StartWorker(1) in story(RestartRequested, 1)
        story(WorkerReady, 1)
        assert story.state.ready == {1, 2}

    def test_of_a_worker_that_waits_for_its_time_is_at_once_and_only_once(self):
        story = serving(max_restarts=9)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert SetAlarm(Alarm.WORKER, 1.0, 1) in story(WorkerExited, SEGFAULT)
        assert StartWorker(1) in story(RestartRequested)
        story(WorkerReady)
        assert story(WorkerRestartDue, 1) == []


class TestOverlap:
    """The successor of 1 is 3, that of 2 is 4, and the other way round."""

    def test_the_new_one_is_ready_before_the_old_one_stops(self):
        story = serving(workers=2)
        assert story(RestartRequested, None, overlap=True) == [StartWorker(3), DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1, 2}, {3})
        assert story(WorkerReady, 3) == [StopWorker(1)]
        assert (story.state.ready, wanted_workers(story.state, story.limits)) == ({2, 3}, {2, 3})
        assert story(WorkerStopped, 1) == [StartWorker(4), DEADLINE]
        assert story(WorkerReady, 4) == [StopWorker(2)]
        assert story(WorkerStopped, 2) == []
        assert (story.state.ready, story.state.rolling_restart) == ({3, 4}, None)

    def test_the_next_time_it_goes_back(self):
        story = serving()
        for new, old in ((2, 1), (1, 2)):
            assert story(RestartRequested, 1, overlap=True) == [StartWorker(new), DEADLINE]
            assert story(WorkerReady, new) == [StopWorker(old)]
            story(WorkerStopped, old)
        assert story.phase is SERVING

    @pytest.mark.parametrize("kind", [WorkerInitFailed, WorkerExited])
    def test_if_the_new_one_fails_the_old_one_stays_and_that_is_no_crash(self, kind):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        assert story(kind, BAD, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting) == (SERVING, {1}, set())
        assert (story.state.restart_failure, story.state.report, story.state.crashes) == (BAD, None, ())

    def test_if_the_new_one_is_too_late_the_old_one_stays(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(StartupTimedOut, LATE) == [NO_RESTART, StopWorker(2)]
        assert (story.phase, story.state.ready, story.state.restart_failure) == (SERVING, {1}, LATE)

    def test_the_next_request_forgets_the_last_failure(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(WorkerInitFailed, BAD, 2)
        story(RestartRequested, None, overlap=True)
        assert story.state.restart_failure is None

    def test_an_old_one_that_crashes_meanwhile_has_its_successor_already(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(WorkerExited, SEGFAULT, 1) == [StopWorker(1), DEADLINE]
        assert (story.phase, story.state.starting, story.state.crash_restarts) == (STARTING, {2}, 1)
        story(WorkerReady, 2)
        assert (story.phase, story.state.ready, story.state.rolling_restart) == (SERVING, {2}, None)

    def test_a_successor_that_crashes_later_is_started_again_in_its_place(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(WorkerReady, 2)
        story(WorkerStopped, 1)
        assert story(WorkerExited, SEGFAULT, 2) == [StopWorker(2), StartWorker(2), DEADLINE]

    def test_a_failed_service_stops_both_sides(self):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        story(WorkerReady, 2)
        assert {StopWorker(1), StopWorker(2)} <= set(story(WorkerExited, SEGFAULT, 2))
        assert story.phase is FAILED

    def test_who_answers_no_more_is_restarted_without_overlap(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(LivenessFailed, HANGS) == [StopWorker(2), StopWorker(1), StartWorker(1), DEADLINE]
        assert story.state.restart_failure == HANGS

    def test_a_worker_that_does_not_serve_is_replaced_at_once(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(RestartRequested, 1, overlap=True) == [StopWorker(1), StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("cause", RestartCause)
    def test_it_is_counted_by_its_cause(self, cause):
        story = serving()
        story(RestartRequested, 1, overlap=True, cause=cause)
        state = story.state
        counts = (state.requested_restarts, state.memory_limit_restarts, state.request_limit_restarts)
        assert counts == tuple(int(each is cause) for each in RestartCause)
