"""The policy: the error server and the stand-in."""

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
    def test_runs_until_the_model_server_is_ready(self):
        story = Story(Limits(stand_in=True))
        assert story(SupervisorStarted) == [StartStandIn(), StartWorker(1), DEADLINE]
        assert story(WorkerReady) == [StopStandIn(), NO_DEADLINE]

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_runs_until_the_error_server_is_ready(self, begin):
        story = begin(stand_in=True)
        assert not story.state.error_server_ready
        assert story(ErrorServerReady) == [StopStandIn()]
        assert story.state.error_server_ready

    def test_keeps_running_when_the_model_server_fails(self):
        assert StopStandIn() not in starting(stand_in=True)(WorkerInitFailed, BAD)

    @pytest.mark.parametrize(
        ("event", "report"), [(WorkerExited, SEGFAULT), (FailedProbation, BAD), (LivenessFailed, HANGS)]
    )
    def test_is_started_before_the_error_server(self, event, report):
        actions = serving(stand_in=True, max_restarts=0)(event, report)
        assert actions[-2:] == [StartStandIn(), StartErrorServer()]

    @pytest.mark.parametrize("begin", [failed, retrying])
    @pytest.mark.parametrize("was_ready", [True, False])
    def test_is_started_when_the_error_server_exits(self, begin, was_ready):
        story = begin(stand_in=True)
        story(ErrorServerReady)
        assert story(ErrorServerExited, was_ready)[0] == StartStandIn()
        assert not story.state.error_server_ready
        assert story(ErrorServerReady) == [StopStandIn()]

    def test_stops_for_a_retry_that_is_ready_first(self):
        assert StopStandIn() in retrying(stand_in=True)(WorkerReady)

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_restarted_after_a_delay(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == [SetAlarm(Alarm.STAND_IN, STAND_IN_RESTART_DELAY)]
        assert story(StandInRestartDue) == [StartStandIn()]

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_not_restarted_if_it_cannot_start(self, begin):
        assert begin(stand_in=True)(StandInExited, was_ready=False) == []

    @pytest.mark.parametrize("begin", [serving, stopping])
    def test_is_not_restarted_where_it_is_not_needed(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == []
        assert story(StandInRestartDue) == []

    def test_is_started_when_the_last_worker_exits(self):
        story = serving(stand_in=True)
        assert story(WorkerExited, SEGFAULT)[0] == StartStandIn()
        assert story(WorkerReady) == [StopStandIn(), NO_DEADLINE]

    def test_is_started_for_a_requested_restart(self):
        assert serving(stand_in=True)(RestartRequested)[0] == StartStandIn()

    def test_is_not_started_while_a_worker_is_ready(self):
        assert StartStandIn() not in serving(stand_in=True, workers=2)(WorkerExited, SEGFAULT, 1)

    def test_is_not_started_while_the_error_server_is_ready(self):
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
    def test_plain_one_that_cannot_start_is_delayed(self):
        story = failed()
        assert story(ErrorServerExited, was_ready=False, plain=True) == [
            SetAlarm(Alarm.ERROR_SERVER, ERROR_SERVER_RESTART_DELAY)
        ]

    @pytest.mark.parametrize("begin", [starting, serving, stopping])
    @pytest.mark.parametrize("event", [ErrorServerExited, ErrorServerRestartDue])
    def test_is_not_restarted_where_it_is_not_needed(self, begin, event):
        assert begin()(event) == []

    def test_is_restarted_after_a_retry_that_fails(self):
        story = retrying()
        story(ErrorServerExited)
        story(WorkerInitFailed, BAD)
        assert story(ErrorServerRestartDue) == [StartErrorServer()]
