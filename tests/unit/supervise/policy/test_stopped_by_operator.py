"""The policy: workers that an operator stops, and starts again."""

import pytest

from drum_supervisor.supervise.policy.actions import Alarm, CancelAlarm, SetAlarm, StartStandIn, StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import (
    FailedProbation,
    RestartRequested,
    RetryDue,
    StartupTimedOut,
    StartWorkerRequested,
    StopWorkerRequested,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
)
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    FAILED,
    LATE,
    NO_DEADLINE,
    RETRYING,
    SEGFAULT,
    SERVING,
    STARTING,
    WORSE,
    failed,
    retrying,
    serving,
    starting,
    stopping,
)


class TestHold:
    """What supervisorctl's stop and start do to a worker."""

    def test_of_the_only_worker_leaves_the_service_starting_for_as_long_as_it_takes(self):
        story = serving()
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting, story.state.stopped_by_operator) == (
            STARTING,
            set(),
            set(),
            {1},
        )
        assert story.state.report is None

    def test_has_the_stand_in_answer(self):
        assert serving(stand_in=True)(StopWorkerRequested) == [StartStandIn(), StopWorker(1), NO_DEADLINE]

    def test_is_over_with_a_start(self):
        story = serving()
        story(StopWorkerRequested)
        assert story(StartWorkerRequested) == [StartWorker(1), DEADLINE]
        assert (story.phase, story.state.stopped_by_operator, story.state.starting) == (STARTING, set(), {1})
        story(WorkerReady)
        assert (story.phase, story.state.requested_restarts) == (SERVING, 1)

    @pytest.mark.parametrize("of", [None, 1])
    def test_is_over_with_a_restart(self, of):
        story = serving()
        story(StopWorkerRequested)
        assert StartWorker(1) in story(RestartRequested, of)
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, set())

    def test_of_one_of_several_leaves_the_others_serving(self):
        story = serving(workers=2)
        assert story(StopWorkerRequested, 1) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.ready) == (SERVING, {2})
        assert story(StartWorkerRequested, 1) == [StartWorker(1), DEADLINE]
        assert story(WorkerReady, 1) == [NO_DEADLINE]
        assert story.state.ready == {1, 2}

    def test_of_all_one_after_the_other(self):
        story = serving(workers=2, stand_in=True)
        story(StopWorkerRequested, 1)
        assert story(StopWorkerRequested, 2) == [StartStandIn(), StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1, 2})

    def test_leaves_alone_who_is_on_its_way(self):
        story = serving(workers=2, stand_in=True)
        story(WorkerExited, SEGFAULT, 2)
        assert story(StopWorkerRequested, 1) == [StartStandIn(), StopWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (STARTING, {2})

    def test_of_one_that_waits_for_its_restart_lets_the_time_pass(self):
        story = serving(max_restarts=9)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert SetAlarm(Alarm.WORKER, 1.0, 1) in story(WorkerExited, SEGFAULT)
        story(StopWorkerRequested)
        assert story(WorkerRestartDue, 1) == []

    def test_while_it_starts(self):
        story = starting()
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1})

    @pytest.mark.parametrize(
        ("event", "about"),
        [(WorkerReady, ()), (WorkerInitFailed, (BAD,)), (WorkerExited, (SEGFAULT,)), (FailedProbation, (BAD,))],
    )
    def test_what_the_worker_still_says_does_not_count(self, event, about):
        story = serving()
        story(StopWorkerRequested)
        before = story.state
        assert (story(event, *about), story.state) == ([], before)

    @pytest.mark.parametrize("event", [StartupTimedOut, WorkerRestartDue, StopWorkerRequested])
    def test_nothing_ends_it_that_nobody_asked_for(self, event):
        story = serving()
        story(StopWorkerRequested)
        story(event, *([LATE] if event is StartupTimedOut else [1]))
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1})

    def test_others_that_come_back_do_not_bring_it_along(self):
        story = starting(workers=2)
        story(StopWorkerRequested, 1)
        assert story(WorkerReady, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator, story.state.report) == (SERVING, {1}, None)

    def test_takes_a_successor_along(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        assert story(StopWorkerRequested, 1)[:2] == [StopWorker(3), StopWorker(1)]
        assert (
            story.state.ready,
            story.state.starting,
            story.state.stopped_by_operator,
            story.state.rolling_restart,
        ) == ({2}, set(), {1}, None)

    def test_of_what_has_been_replaced_with_overlap_is_of_who_serves_there(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        story(WorkerReady, 3)
        assert StopWorker(3) in story(StopWorkerRequested, 1)
        assert StartWorker(3) in story(StartWorkerRequested, 1)

    def test_lets_the_others_be_replaced_that_are_due(self):
        story = serving(workers=3)
        story(RestartRequested)
        assert story(StopWorkerRequested, 1) == [StopWorker(1), StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.state.stopped_by_operator, story.state.starting) == ({1}, {2})

    def test_is_not_over_before_it_is_its_turn_to_be_replaced(self):
        story = serving(workers=2)
        story(StopWorkerRequested, 2)
        story(RestartRequested)
        assert (story.state.stopped_by_operator, story.state.starting) == ({2}, {1})
        assert story(WorkerReady, 1) == [StopWorker(2), StartWorker(2)]
        assert (story.state.stopped_by_operator, story.state.starting) == (set(), {2})

    def test_is_no_failure_when_the_others_were_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(StopWorkerRequested, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {2})

    def test_is_no_failure_of_the_others_either(self):
        story = serving(workers=2, max_restarts=0)
        story(StopWorkerRequested, 1)
        story(WorkerExited, SEGFAULT, 2)
        assert (story.phase, story.state.stopped_by_operator) == (FAILED, {1})

    def test_behind_the_error_server_ends_the_attempts(self):
        story = retrying(max_retries=3)
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (FAILED, {1})
        assert story(RetryDue) == []

    def test_behind_the_error_server_the_others_are_retried_without_it(self):
        story = failed(workers=2, max_retries=3)
        story(RetryDue)
        story(WorkerInitFailed, WORSE, 1)
        assert SetAlarm(Alarm.RETRY, 20.0) in story(StopWorkerRequested, 2)
        assert story(RetryDue) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]

    def test_of_what_has_failed_is_nothing(self):
        story = failed()
        before = story.state
        assert (story(StopWorkerRequested), story.state) == ([], before)


class TestStart:
    def test_after_a_failure_is_a_retry_as_by_a_restart(self):
        story = failed()
        assert story(StartWorkerRequested) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.attempt, story.state.requested_restarts) == (RETRYING, 2, 1)

    def test_of_a_worker_that_was_given_up_brings_it_back(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(StartWorkerRequested, 1) == [StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("begin", [starting, serving, retrying, stopping])
    def test_of_what_runs_or_will_run_is_nothing(self, begin):
        story = begin()
        before = story.state
        assert (story(StartWorkerRequested), story.state) == ([], before)
