"""The policy: those that answer in the model server's place."""

import pytest

from drum_supervisor.supervise.policy.actions import (
    Alarm,
    SetAlarm,
    StartErrorServer,
    StartStandIn,
    StartWorker,
    StopStandIn,
)
from drum_supervisor.supervise.policy.events import (
    ErrorServerExited,
    ErrorServerReady,
    ErrorServerRestartDue,
    FailedProbation,
    LivenessFailed,
    RestartRequested,
    RetryDue,
    StandInExited,
    StandInRestartDue,
    SupervisorStarted,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
)
from drum_supervisor.supervise.policy.fallbacks import ERROR_SERVER_RESTART_DELAY, STAND_IN_RESTART_DELAY
from drum_supervisor.supervise.policy.state import Limits
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    HANGS,
    NO_DEADLINE,
    SEGFAULT,
    WORSE,
    Story,
    failed,
    retrying,
    serving,
    starting,
    stopping,
)


class TestStandIn:
    def test_is_there_from_the_beginning_until_the_model_server_is_ready(self):
        story = Story(Limits(stand_in=True))
        assert story(SupervisorStarted) == [StartStandIn(), StartWorker(1), DEADLINE]
        assert story(WorkerReady) == [StopStandIn(), NO_DEADLINE]

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_answers_with_the_failure_until_the_error_server_does(self, begin):
        story = begin(stand_in=True)
        assert not story.state.error_server_ready
        assert story(ErrorServerReady) == [StopStandIn()]
        assert story.state.error_server_ready

    def test_stays_when_the_model_server_has_failed(self):
        assert StopStandIn() not in starting(stand_in=True)(WorkerInitFailed, BAD)

    @pytest.mark.parametrize(
        ("event", "report"), [(WorkerExited, SEGFAULT), (FailedProbation, BAD), (LivenessFailed, HANGS)]
    )
    def test_comes_back_before_the_error_server_when_a_service_has_failed_that_was_up(self, event, report):
        actions = serving(stand_in=True, max_restarts=0)(event, report)
        assert actions[-2:] == [StartStandIn(), StartErrorServer()]

    @pytest.mark.parametrize("begin", [failed, retrying])
    @pytest.mark.parametrize("was_ready", [True, False])
    def test_comes_back_when_the_error_server_is_gone(self, begin, was_ready):
        story = begin(stand_in=True)
        story(ErrorServerReady)
        assert story(ErrorServerExited, was_ready)[0] == StartStandIn()
        assert not story.state.error_server_ready
        assert story(ErrorServerReady) == [StopStandIn()]

    def test_makes_room_for_the_model_server_that_was_faster_than_the_error_server(self):
        assert StopStandIn() in retrying(stand_in=True)(WorkerReady)

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_started_again_a_moment_after_it_crashed(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == [SetAlarm(Alarm.STAND_IN, STAND_IN_RESTART_DELAY)]
        assert story(StandInRestartDue) == [StartStandIn()]

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_done_without_if_it_cannot_start(self, begin):
        assert begin(stand_in=True)(StandInExited, was_ready=False) == []

    @pytest.mark.parametrize("begin", [serving, stopping])
    def test_is_not_started_again_when_nobody_needs_it(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == []
        assert story(StandInRestartDue) == []

    def test_comes_back_when_no_worker_is_ready_any_more(self):
        story = serving(stand_in=True)
        assert story(WorkerExited, SEGFAULT)[0] == StartStandIn()
        assert story(WorkerReady) == [StopStandIn(), NO_DEADLINE]

    def test_comes_back_for_a_requested_restart(self):
        assert serving(stand_in=True)(RestartRequested)[0] == StartStandIn()

    def test_is_not_needed_while_another_worker_is_ready(self):
        assert StartStandIn() not in serving(stand_in=True, workers=2)(WorkerExited, SEGFAULT, 1)

    def test_is_not_needed_behind_the_error_server(self):
        story = failed(stand_in=True, max_retries=1)
        story(ErrorServerReady)
        assert StartStandIn() not in story(RetryDue)
        assert story(StandInExited) == []
        assert story(StandInRestartDue) == []
        assert StartStandIn() not in story(WorkerInitFailed, WORSE)
        story(RestartRequested)
        assert StopStandIn() not in story(WorkerReady)
        assert not story.state.error_server_ready


class TestErrorServer:
    def test_that_cannot_start_either_when_plain_is_tried_again_after_a_moment(self):
        """And not at once, for ever."""
        story = failed()
        assert story(ErrorServerExited, was_ready=False, plain=True) == [
            SetAlarm(Alarm.ERROR_SERVER, ERROR_SERVER_RESTART_DELAY)
        ]

    @pytest.mark.parametrize("begin", [starting, serving, stopping])
    @pytest.mark.parametrize("event", [ErrorServerExited, ErrorServerRestartDue])
    def test_that_is_not_wanted_any_more_is_not_started_again(self, begin, event):
        assert begin()(event) == []

    def test_is_started_again_although_a_retry_is_under_way(self):
        story = retrying()
        story(ErrorServerExited)
        story(WorkerInitFailed, BAD)
        assert story(ErrorServerRestartDue) == [StartErrorServer()]
