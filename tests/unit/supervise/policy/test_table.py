"""The policy as a table: each phase and event, random events, and a simulation of the processes."""

import copy
import random
from dataclasses import replace

import pytest

from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy.actions import (
    Alarm,
    CancelAlarm,
    Exit,
    KillAll,
    SaveReport,
    SetAlarm,
    StartErrorServer,
    StartWorker,
    StopAll,
    StopErrorServer,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    ErrorServerExited,
    ErrorServerRestartDue,
    ErrorServerTtlExpired,
    EssentialProgramExited,
    RestartRequested,
    RetryDue,
    StartupTimedOut,
    StopRequested,
    SupervisorStarted,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
)
from drum_supervisor.supervise.policy.fallbacks import ERROR_SERVER_RESTART_DELAY
from drum_supervisor.supervise.policy.table import decide
from tests.unit.policy_stories import (
    BAD,
    DEADLINE,
    FAILED,
    LATE,
    NO_DEADLINE,
    NO_RESTART,
    RETRY_10_S,
    RETRYING,
    SEGFAULT,
    SERVING,
    STARTING,
    STOPPING,
    WORSE,
    Story,
    failed,
    retrying,
    serving,
    starting,
    stopping,
)
from tests.unit.policy_world import ALL_LIMITS, EVENTS, World, check_invariants, random_event


class TestTable:
    def test_started(self):
        story = Story()
        assert story(SupervisorStarted) == [StartWorker(1), DEADLINE]
        assert story.phase is STARTING

    def test_starting_and_ready_is_serving(self):
        story = starting()
        assert story(WorkerReady) == [NO_DEADLINE]
        assert story.phase is SERVING

    @pytest.mark.parametrize(
        ("event", "report"), [(WorkerInitFailed, BAD), (WorkerExited, SEGFAULT), (StartupTimedOut, LATE)]
    )
    def test_starting_and_worker_failed_is_failed(self, event, report):
        story = starting()
        assert story(event, report) == [NO_DEADLINE, NO_RESTART, StopWorker(1), SaveReport(report), StartErrorServer()]
        assert story.phase is FAILED
        assert story.state.report == report

    def test_failed_sets_the_ttl_and_the_retry(self):
        story = starting(ttl=3600.0, max_retries=2)
        assert story(WorkerInitFailed, BAD)[-3:] == [StartErrorServer(), SetAlarm(Alarm.TTL, 3600.0), RETRY_10_S]

    def test_serving_and_exited_within_the_limit_is_starting(self):
        story = serving()
        assert story(WorkerExited, SEGFAULT) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is STARTING
        assert story.state.report is None

    def test_serving_and_exited_too_often_is_failed(self):
        story = serving(max_restarts=0)
        died = replace(SEGFAULT, cause=Cause.DIED)
        assert story(WorkerExited, SEGFAULT) == [
            NO_DEADLINE,
            NO_RESTART,
            StopWorker(1),
            SaveReport(died),
            StartErrorServer(),
        ]
        assert story.phase is FAILED

    def test_failed_and_retry_due_is_retrying(self):
        story = failed(max_retries=1)
        assert story(RetryDue) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert story.phase is RETRYING

    def test_failed_and_restart_requested_is_retrying(self):
        story = failed()
        assert story(RestartRequested) == [CancelAlarm(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert story.phase is RETRYING

    def test_retrying_and_ready_is_serving(self):
        story = retrying()
        assert story(WorkerReady) == [CancelAlarm(Alarm.TTL), StopErrorServer(), NO_DEADLINE]
        assert story.phase is SERVING

    @pytest.mark.parametrize(
        ("event", "report"), [(WorkerInitFailed, WORSE), (WorkerExited, SEGFAULT), (StartupTimedOut, LATE)]
    )
    def test_retrying_and_worker_failed_is_failed(self, event, report):
        story = retrying()
        assert story(event, report) == [
            NO_DEADLINE,
            NO_RESTART,
            StopWorker(1),
            SaveReport(report),
            StartErrorServer(),
            SetAlarm(Alarm.RETRY, 20.0),
        ]
        assert story.phase is FAILED
        assert story.state.report == report

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_crashed_error_server_is_restarted_after_a_delay(self, begin):
        story = begin()
        phase = story.phase
        assert story(ErrorServerExited) == [SetAlarm(Alarm.ERROR_SERVER, ERROR_SERVER_RESTART_DELAY)]
        assert story(ErrorServerRestartDue) == [StartErrorServer()]
        assert story.phase is phase

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_plain_error_server_replaces_one_that_cannot_start(self, begin):
        story = begin()
        phase = story.phase
        assert story(ErrorServerExited, was_ready=False) == [StartErrorServer(plain=True)]
        assert story.phase is phase

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_failed_and_ttl_expired_is_stopping(self, begin):
        story = begin(ttl=10.0)
        assert story(ErrorServerTtlExpired) == [StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(3)]

    @pytest.mark.parametrize("begin", [Story, starting, serving, failed, retrying])
    def test_stop_requested_is_stopping_with_code_0(self, begin):
        story = begin()
        assert story(StopRequested) == [StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(0)]


class TestExhaustive:
    @pytest.mark.parametrize("begin", [Story, starting, serving, failed, retrying, stopping])
    @pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
    def test_every_event_has_a_decision_in_every_phase(self, begin, kind):
        story = begin()
        _, actions = decide(story.state, random_event(kind, 1.0, random.Random(1), 1), story.limits)
        assert isinstance(actions, list)

    def test_number_of_events(self):
        assert len(EVENTS) == 23

    @pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
    def test_stopping_supervisor_only_kills_or_exits(self, kind):
        story = stopping()
        _, actions = decide(story.state, random_event(kind, 1.0, random.Random(1), 1), story.limits)
        assert actions in ([], [KillAll()], [Exit(0)])


class TestRandomWalk:
    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_invariants_hold_after_any_event(self, limits):
        """Including events that come too late: of an alarm, or of a worker that was stopped."""
        chance = random.Random(repr(limits))
        kinds = [
            kind
            for kind in EVENTS
            if kind not in (SupervisorStarted, EssentialProgramExited, StopRequested, AllStopped, ErrorServerTtlExpired)
        ]
        for _ in range(40):
            story = starting(**vars(limits))
            for _ in range(150):
                story.wait(chance.choice([0.0, 0.0, 1.0, 20.0]))
                kind = chance.choice(kinds if chance.random() < 0.99 else EVENTS[1:])
                event = random_event(kind, story.now, chance, limits.workers)
                before = story.state
                story.state, actions = decide(before, event, limits)
                check_invariants(story.state, actions, event, before, limits)

    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_decisions_are_pure(self, limits):
        chance = random.Random(repr(limits))
        state = starting(**vars(limits)).state
        for number in range(1000):
            event = random_event(chance.choice(EVENTS[1:-2]), float(number), chance, limits.workers)
            given = copy.deepcopy((state, event, limits))
            first = decide(state, event, limits)
            assert (state, event, limits) == given
            assert decide(*given) == first
            state = first[0] if first[0].phase is not STOPPING else starting(**vars(limits)).state


class TestSimulation:
    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_no_process_or_alarm_is_forgotten(self, limits):
        for number in range(30):
            world = World(limits, f"{number} {limits}")
            world.step(SupervisorStarted(0.0))
            world.check()
            for _ in range(200):
                world.story.wait(world.chance.choice([0.0, 0.1, 5.0]))
                world.step(world.next_event())
                if world.story.phase is STOPPING:
                    break
                world.check()
            world.step(StopRequested(world.story.now))
            world.step(AllStopped(world.story.now))
            assert world.ended
            assert (world.running, world.error_server, world.stand_in) == (set(), "", False)
