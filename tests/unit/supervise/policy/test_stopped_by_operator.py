"""The policy: an operator stops and starts workers."""

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


class TestStopWorker:
    def test_of_the_only_worker_enters_starting_without_deadline(self):
        story = serving()
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.starting, story.state.stopped_by_operator) == (
            STARTING,
            set(),
            set(),
            {1},
        )
        assert story.state.report is None

    def test_starts_the_stand_in(self):
        assert serving(stand_in=True)(StopWorkerRequested) == [StartStandIn(), StopWorker(1), NO_DEADLINE]

    def test_lasts_until_a_start(self):
        story = serving()
        story(StopWorkerRequested)
        assert story(StartWorkerRequested) == [StartWorker(1), DEADLINE]
        assert (story.phase, story.state.stopped_by_operator, story.state.starting) == (STARTING, set(), {1})
        story(WorkerReady)
        assert (story.phase, story.state.requested_restarts) == (SERVING, 1)

    @pytest.mark.parametrize("of", [None, 1])
    def test_lasts_until_a_restart(self, of):
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

    def test_of_all_one_after_another(self):
        story = serving(workers=2, stand_in=True)
        story(StopWorkerRequested, 1)
        assert story(StopWorkerRequested, 2) == [StartStandIn(), StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1, 2})

    def test_leaves_a_starting_worker_alone(self):
        story = serving(workers=2, stand_in=True)
        story(WorkerExited, SEGFAULT, 2)
        assert story(StopWorkerRequested, 1) == [StartStandIn(), StopWorker(1), DEADLINE]
        assert (story.phase, story.state.starting) == (STARTING, {2})

    def test_cancels_a_scheduled_restart(self):
        story = serving(max_restarts=9)
        story(WorkerExited, SEGFAULT)
        story(WorkerReady)
        assert SetAlarm(Alarm.WORKER, 1.0, 1) in story(WorkerExited, SEGFAULT)
        story(StopWorkerRequested)
        assert story(WorkerRestartDue, 1) == []

    def test_of_a_starting_worker(self):
        story = starting()
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1})

    @pytest.mark.parametrize(
        ("event", "about"),
        [(WorkerReady, ()), (WorkerInitFailed, (BAD,)), (WorkerExited, (SEGFAULT,)), (FailedProbation, (BAD,))],
    )
    def test_later_events_of_the_worker_are_ignored(self, event, about):
        story = serving()
        story(StopWorkerRequested)
        before = story.state
        assert (story(event, *about), story.state) == ([], before)

    @pytest.mark.parametrize("event", [StartupTimedOut, WorkerRestartDue, StopWorkerRequested])
    def test_lasts_through_other_events(self, event):
        story = serving()
        story(StopWorkerRequested)
        story(event, *([LATE] if event is StartupTimedOut else [1]))
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {1})

    def test_lasts_when_another_worker_is_ready(self):
        story = starting(workers=2)
        story(StopWorkerRequested, 1)
        assert story(WorkerReady, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator, story.state.report) == (SERVING, {1}, None)

    def test_stops_the_successor_too(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        assert story(StopWorkerRequested, 1)[:2] == [StopWorker(3), StopWorker(1)]
        assert (
            story.state.ready,
            story.state.starting,
            story.state.stopped_by_operator,
            story.state.rolling_restart,
        ) == ({2}, set(), {1}, None)

    def test_of_a_swapped_slot_stops_the_standby(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        story(WorkerReady, 3)
        assert StopWorker(3) in story(StopWorkerRequested, 1)
        assert StartWorker(3) in story(StartWorkerRequested, 1)

    def test_rolling_restart_continues_with_the_next_slot(self):
        story = serving(workers=3)
        story(RestartRequested)
        assert story(StopWorkerRequested, 1) == [StopWorker(1), StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.state.stopped_by_operator, story.state.starting) == ({1}, {2})

    def test_lasts_until_the_rolling_restart_reaches_the_slot(self):
        story = serving(workers=2)
        story(StopWorkerRequested, 2)
        story(RestartRequested)
        assert (story.state.stopped_by_operator, story.state.starting) == ({2}, {1})
        assert story(WorkerReady, 1) == [StopWorker(2), StartWorker(2)]
        assert (story.state.stopped_by_operator, story.state.starting) == (set(), {2})

    def test_of_the_last_one_is_no_failure(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(StopWorkerRequested, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (STARTING, {2})

    def test_stays_when_the_other_worker_fails(self):
        story = serving(workers=2, max_restarts=0)
        story(StopWorkerRequested, 1)
        story(WorkerExited, SEGFAULT, 2)
        assert (story.phase, story.state.stopped_by_operator) == (FAILED, {1})

    def test_while_retrying_ends_the_retries(self):
        story = retrying(max_retries=3)
        assert story(StopWorkerRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.stopped_by_operator) == (FAILED, {1})
        assert story(RetryDue) == []

    def test_while_retrying_excludes_the_slot_from_retries(self):
        story = failed(workers=2, max_retries=3)
        story(RetryDue)
        story(WorkerInitFailed, WORSE, 1)
        assert SetAlarm(Alarm.RETRY, 20.0) in story(StopWorkerRequested, 2)
        assert story(RetryDue) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]

    def test_while_failed_is_ignored(self):
        story = failed()
        before = story.state
        assert (story(StopWorkerRequested), story.state) == ([], before)


class TestStartWorker:
    def test_while_failed_is_a_retry(self):
        story = failed()
        assert story(StartWorkerRequested) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.attempt, story.state.requested_restarts) == (RETRYING, 2, 1)

    def test_starts_a_worker_that_was_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(WorkerExited, SEGFAULT, 1)
        assert story(StartWorkerRequested, 1) == [StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("begin", [starting, serving, retrying, stopping])
    def test_of_a_running_or_starting_worker_is_ignored(self, begin):
        story = begin()
        before = story.state
        assert (story(StartWorkerRequested), story.state) == ([], before)
