"""The policy as histories: events go in, actions and phases come out. No process, no clock, no file."""

import copy
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from drum_supervisor.contract.failure import Cause, FailureReport
from drum_supervisor.supervise import history
from drum_supervisor.supervise.crashes import LONGEST_RESTART_DELAY, restart_delay
from drum_supervisor.supervise.history import (
    Action,
    Alarm,
    AllStopped,
    Begun,
    Cancel,
    DeadlinePassed,
    ErrorServerDue,
    ErrorServerExited,
    ErrorServerReady,
    EssentialEnded,
    Event,
    Exit,
    Exited,
    Gone,
    HoldRequested,
    InitFailed,
    KeepReport,
    KillAll,
    Phase,
    Plan,
    Ready,
    ReadyTooSoon,
    RestartCause,
    RestartRequested,
    RetryDue,
    StandInDue,
    StandInExited,
    StartErrorServer,
    StartRequested,
    StartStandIn,
    StartWorker,
    StopAll,
    StopErrorServer,
    StopRequested,
    StopStandIn,
    StopWorker,
    TtlOver,
    Unresponsive,
    WorkerDue,
    WorkerKilled,
)
from drum_supervisor.supervise.phases import LONGEST_RETRY_INTERVAL, retry_delay
from drum_supervisor.supervise.policy import decide
from drum_supervisor.supervise.state import Limits, Roll, State, attempts_left, place_of, workers_of
from drum_supervisor.supervise.substitutes import ERROR_SERVER_DELAY, STAND_IN_DELAY

STARTING, SERVING, FAILED, RETRYING, STOPPING = Phase

BAD = FailureReport(Cause.INIT_FAILED, "bad weights", type="ValueError")
WORSE = FailureReport(Cause.INIT_FAILED, "no weights", type="KeyError")
PERMANENT = FailureReport(Cause.INIT_FAILED, "invalid syntax", type="SyntaxError", permanent=True)
SEGFAULT = FailureReport(Cause.INIT_FAILED, "killed by SIGSEGV", signal=11)
HANGS = FailureReport(Cause.INIT_FAILED, "did not answer GET /x within 5 s, 3 times in a row")
TOO_LARGE = FailureReport(Cause.INIT_FAILED, "out of memory: killed by the kernel", signal=9, out_of_memory=True)
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "not ready within 600 s")

DEADLINE = Plan(Alarm.DEADLINE, 600.0)
NO_DEADLINE = Cancel(Alarm.DEADLINE)
NO_RESTART = Cancel(Alarm.WORKER)
RETRY_10_S = Plan(Alarm.RETRY, 10.0)

EVENTS: tuple[type[Event], ...] = tuple(
    value
    for value in vars(history).values()
    if isinstance(value, type) and issubclass(value, Event) and value is not Event
)


@dataclass
class Story:
    """A service that lives through one event after the other."""

    limits: Limits = field(default_factory=Limits)
    state: State = field(default_factory=State)
    now: float = 0.0

    @property
    def phase(self) -> Phase:
        return self.state.phase

    def __call__(self, event: Callable[..., Event], *about: object, **more: object) -> list[Action]:
        """Let `event` happen a second later; return what is to be done."""
        self.now += 1.0
        self.state, actions = decide(self.state, event(self.now, *about, **more), self.limits)
        return actions

    def wait(self, seconds: float) -> None:
        self.now += seconds


def starting(**limits: object) -> Story:
    story = Story(Limits(**limits))
    story(Begun)
    return story


def serving(**limits: object) -> Story:
    story = starting(**limits)
    for worker in sorted(story.limits.all_workers):
        story(Ready, worker)
    assert story.phase is SERVING
    return story


def failed(report: FailureReport = BAD, **limits: object) -> Story:
    story = starting(**limits)
    for worker in sorted(story.limits.all_workers):
        story(InitFailed, report, worker)
    assert story.phase is FAILED
    return story


def retrying(**limits: object) -> Story:
    story = failed(**{"max_retries": 3, **limits})
    story(RetryDue)
    assert story.phase is RETRYING
    return story


def stopping(**limits: object) -> Story:
    story = serving(**limits)
    story(StopRequested)
    return story


def stopped(*workers: int) -> list[Action]:
    return [StopWorker(worker) for worker in workers]


def started(*workers: int) -> list[Action]:
    return [StartWorker(worker) for worker in workers]


class TestTable:
    """Each row of the table in the design."""

    def test_begun(self):
        story = Story()
        assert story(Begun) == [StartWorker(1), DEADLINE]
        assert story.phase is STARTING

    def test_starting_and_ready_is_serving(self):
        story = starting()
        assert story(Ready) == [NO_DEADLINE]
        assert story.phase is SERVING

    @pytest.mark.parametrize(("event", "report"), [(InitFailed, BAD), (Exited, SEGFAULT), (DeadlinePassed, LATE)])
    def test_starting_and_it_will_not_be_ready_is_failed(self, event, report):
        story = starting()
        assert story(event, report) == [NO_DEADLINE, NO_RESTART, StopWorker(1), KeepReport(report), StartErrorServer()]
        assert story.phase is FAILED
        assert story.state.report == report

    def test_failed_plans_the_end_and_the_retry(self):
        story = starting(ttl=3600.0, max_retries=2)
        assert story(InitFailed, BAD)[-3:] == [StartErrorServer(), Plan(Alarm.END, 3600.0), RETRY_10_S]

    def test_serving_and_exited_under_the_limit_is_starting(self):
        story = serving()
        assert story(Exited, SEGFAULT) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is STARTING
        assert story.state.report is None

    def test_serving_and_exited_too_often_is_failed(self):
        story = serving(max_restarts=0)
        died = replace(SEGFAULT, cause=Cause.DIED)
        assert story(Exited, SEGFAULT) == [NO_DEADLINE, NO_RESTART, StopWorker(1), KeepReport(died), StartErrorServer()]
        assert story.phase is FAILED

    def test_failed_and_retry_due_is_retrying(self):
        story = failed(max_retries=1)
        assert story(RetryDue) == [Cancel(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert story.phase is RETRYING

    def test_failed_and_restart_requested_is_retrying(self):
        story = failed()
        assert story(RestartRequested) == [Cancel(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert story.phase is RETRYING

    def test_retrying_and_ready_is_serving(self):
        story = retrying()
        assert story(Ready) == [Cancel(Alarm.END), StopErrorServer(), NO_DEADLINE]
        assert story.phase is SERVING

    @pytest.mark.parametrize(("event", "report"), [(InitFailed, WORSE), (Exited, SEGFAULT), (DeadlinePassed, LATE)])
    def test_retrying_and_it_will_not_be_ready_is_failed_with_the_new_report(self, event, report):
        story = retrying()
        assert story(event, report) == [
            NO_DEADLINE,
            NO_RESTART,
            StopWorker(1),
            KeepReport(report),
            StartErrorServer(),
            Plan(Alarm.RETRY, 20.0),
        ]
        assert story.phase is FAILED
        assert story.state.report == report

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_error_server_that_crashed_is_started_again_after_a_moment(self, begin):
        story = begin()
        phase = story.phase
        assert story(ErrorServerExited) == [Plan(Alarm.ERROR_SERVER, ERROR_SERVER_DELAY)]
        assert story(ErrorServerDue) == [StartErrorServer()]
        assert story.phase is phase

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_error_server_that_cannot_start_is_replaced_by_the_plain_one(self, begin):
        story = begin()
        phase = story.phase
        assert story(ErrorServerExited, was_ready=False) == [StartErrorServer(plain=True)]
        assert story.phase is phase

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_failed_and_ttl_over_is_stopping_with_the_code_of_the_cause(self, begin):
        story = begin(ttl=10.0)
        assert story(TtlOver) == [StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(3)]

    @pytest.mark.parametrize("begin", [Story, starting, serving, failed, retrying])
    def test_stop_requested_is_stopping_with_code_0(self, begin):
        story = begin()
        assert story(StopRequested) == [StopAll()]
        assert story.phase is STOPPING
        assert story(AllStopped) == [Exit(0)]


class TestStandIn:
    def test_is_there_from_the_beginning_until_the_model_server_is_ready(self):
        story = Story(Limits(stand_in=True))
        assert story(Begun) == [StartStandIn(), StartWorker(1), DEADLINE]
        assert story(Ready) == [StopStandIn(), NO_DEADLINE]

    @pytest.mark.parametrize("begin", [failed, retrying])
    def test_answers_with_the_failure_until_the_error_server_does(self, begin):
        story = begin(stand_in=True)
        assert not story.state.explained
        assert story(ErrorServerReady) == [StopStandIn()]
        assert story.state.explained

    def test_stays_when_the_model_server_has_failed(self):
        assert StopStandIn() not in starting(stand_in=True)(InitFailed, BAD)

    @pytest.mark.parametrize(("event", "report"), [(Exited, SEGFAULT), (ReadyTooSoon, BAD), (Unresponsive, HANGS)])
    def test_comes_back_before_the_error_server_when_a_service_has_failed_that_was_up(self, event, report):
        actions = serving(stand_in=True, max_restarts=0)(event, report)
        assert actions[-2:] == [StartStandIn(), StartErrorServer()]

    @pytest.mark.parametrize("begin", [failed, retrying])
    @pytest.mark.parametrize("was_ready", [True, False])
    def test_comes_back_when_the_error_server_is_gone(self, begin, was_ready):
        story = begin(stand_in=True)
        story(ErrorServerReady)
        assert story(ErrorServerExited, was_ready)[0] == StartStandIn()
        assert not story.state.explained
        assert story(ErrorServerReady) == [StopStandIn()]

    def test_makes_room_for_the_model_server_that_was_faster_than_the_error_server(self):
        assert StopStandIn() in retrying(stand_in=True)(Ready)

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_started_again_a_moment_after_it_crashed(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == [Plan(Alarm.STAND_IN, STAND_IN_DELAY)]
        assert story(StandInDue) == [StartStandIn()]

    @pytest.mark.parametrize("begin", [starting, failed, retrying])
    def test_is_done_without_if_it_cannot_start(self, begin):
        assert begin(stand_in=True)(StandInExited, was_ready=False) == []

    @pytest.mark.parametrize("begin", [serving, stopping])
    def test_is_not_started_again_when_nobody_needs_it(self, begin):
        story = begin(stand_in=True)
        assert story(StandInExited) == []
        assert story(StandInDue) == []

    def test_comes_back_when_no_worker_is_ready_any_more(self):
        story = serving(stand_in=True)
        assert story(Exited, SEGFAULT)[0] == StartStandIn()
        assert story(Ready) == [StopStandIn(), NO_DEADLINE]

    def test_comes_back_for_a_requested_restart(self):
        assert serving(stand_in=True)(RestartRequested)[0] == StartStandIn()

    def test_is_not_needed_while_another_worker_is_ready(self):
        assert StartStandIn() not in serving(stand_in=True, workers=2)(Exited, SEGFAULT, 1)

    def test_is_not_needed_behind_the_error_server(self):
        story = failed(stand_in=True, max_retries=1)
        story(ErrorServerReady)
        assert StartStandIn() not in story(RetryDue)
        assert story(StandInExited) == []
        assert story(StandInDue) == []
        assert StartStandIn() not in story(InitFailed, WORSE)
        story(RestartRequested)
        assert StopStandIn() not in story(Ready)
        assert not story.state.explained


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


class TestSeveralWorkers:
    def test_all_are_started(self):
        assert Story(Limits(workers=3))(Begun) == [*started(1, 2, 3), DEADLINE]

    def test_first_one_that_is_ready_makes_the_service_ready(self):
        story = starting(workers=2)
        assert story(Ready, 2) == []
        assert story.phase is SERVING
        assert (story.state.ready, story.state.coming) == ({2}, {1})

    def test_last_one_that_is_ready_ends_the_deadline(self):
        story = starting(workers=2)
        story(Ready, 2)
        assert story(Ready, 1) == [NO_DEADLINE]
        assert (story.state.ready, story.state.coming) == ({1, 2}, set())

    def test_one_that_fails_alone_is_waited_for_no_more(self):
        story = starting(workers=2)
        assert story(InitFailed, BAD, 1) == [StopWorker(1)]
        assert story.phase is STARTING
        assert story.state.coming == {2}

    def test_others_may_still_be_ready(self):
        story = starting(workers=3)
        story(InitFailed, BAD, 1)
        story(Exited, SEGFAULT, 3)
        story(Ready, 2)
        assert story.phase is SERVING

    @pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
    def test_all_that_fail_are_a_failure_with_the_report_of_the_last(self, order):
        story = starting(workers=3)
        for worker in order[:2]:
            story(InitFailed, BAD, worker)
        actions = story(InitFailed, WORSE, order[2])
        assert actions == [NO_DEADLINE, NO_RESTART, *stopped(1, 2, 3), KeepReport(WORSE), StartErrorServer()]
        assert story.phase is FAILED

    def test_last_one_that_fails_while_others_are_ready_is_started_again(self):
        story = starting(workers=2)
        story(Ready, 1)
        assert story(InitFailed, BAD, 2) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert story.phase is SERVING

    def test_one_that_was_ready_too_soon_is_like_one_that_crashed_while_others_serve(self):
        story = serving(workers=2)
        assert story(ReadyTooSoon, BAD, 1) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is SERVING

    def test_deadline_gives_up_those_that_are_not_ready(self):
        story = starting(workers=3)
        story(Ready, 2)
        assert story(DeadlinePassed, LATE) == [NO_RESTART, *stopped(1, 3)]
        assert story.phase is SERVING
        assert (story.state.ready, story.state.coming) == ({2}, set())

    def test_deadline_with_none_ready_is_a_failure(self):
        story = starting(workers=2)
        story(InitFailed, BAD, 1)
        story(DeadlinePassed, LATE)
        assert story.phase is FAILED

    def test_one_that_crashes_is_started_again_while_the_others_serve(self):
        story = serving(workers=2)
        assert story(Exited, SEGFAULT, 1) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert story.phase is SERVING
        assert story(Ready, 1) == [NO_DEADLINE]

    def test_all_that_crash_leave_the_service_starting(self):
        story = serving(workers=2)
        story(Exited, SEGFAULT, 1)
        assert story(Exited, SEGFAULT, 2) == [StopWorker(2), Plan(Alarm.WORKER, 1.0, 2), Plan(Alarm.DEADLINE, 601.0)]
        assert story.phase is STARTING
        assert story.state.coming == {1, 2}

    def test_one_that_crashes_too_often_is_given_up_while_the_others_serve(self):
        story = serving(workers=2, max_restarts=1)
        story(Exited, SEGFAULT, 1)
        story(Ready, 1)
        assert story(Exited, SEGFAULT, 1) == [StopWorker(1)]
        assert story.phase is SERVING
        assert (story.state.ready, story.state.coming) == ({2}, set())

    def test_last_one_that_crashes_too_often_is_a_failure(self):
        story = serving(workers=2, max_restarts=1)
        for worker in (1, 1, 2):
            story(Exited, SEGFAULT, worker)
        assert story.phase is FAILED
        assert story.state.report.cause is Cause.KEPT_DYING

    def test_one_given_up_leaves_the_service_starting_while_another_is_on_its_way(self):
        story = serving(workers=2, max_restarts=1, stand_in=True)
        story(Exited, SEGFAULT, 1)
        assert story(Exited, SEGFAULT, 2) == [StartStandIn(), StopWorker(2), DEADLINE]
        assert (story.phase, story.state.coming) == (STARTING, {1})

    def test_retry_starts_all_and_one_that_is_ready_is_enough(self):
        story = failed(workers=2, max_retries=1)
        assert story(RetryDue) == [Cancel(Alarm.RETRY), *started(1, 2), DEADLINE]
        assert story(InitFailed, BAD, 1) == [StopWorker(1)]
        assert story(Ready, 2) == [Cancel(Alarm.END), StopErrorServer(), Plan(Alarm.WORKER, 1.0, 1)]
        assert story.phase is SERVING

    def test_one_that_fails_alone_is_started_again_and_told_of_until_it_is_ready(self):
        story = starting(workers=2)
        story(InitFailed, BAD, 1)
        assert story(Ready, 2) == [Plan(Alarm.WORKER, 1.0, 1)]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {2}, {1})
        assert story(WorkerDue, 1) == [StartWorker(1)]
        assert story(Ready, 1) == [NO_DEADLINE]
        assert story.state.report is None

    def test_one_that_fails_alone_too_often_is_left_and_its_failure_is_told(self):
        story = starting(workers=2, max_restarts=0)
        story(InitFailed, BAD, 1)
        assert story(Ready, 2) == [NO_DEADLINE]
        assert (story.state.ready, story.state.coming, story.state.report) == ({2}, set(), BAD)

    def test_retry_fails_when_all_have_failed(self):
        story = failed(workers=2, max_retries=1)
        story(RetryDue)
        story(InitFailed, BAD, 1)
        assert story.phase is RETRYING
        story(InitFailed, WORSE, 2)
        assert (story.phase, story.state.report) == (FAILED, WORSE)

    def test_one_that_is_ready_after_it_has_failed_is_not(self):
        """Both may be in the same turn of the loop."""
        story = starting(workers=2)
        story(InitFailed, BAD, 1)
        assert story(Ready, 1) == []
        assert (story.phase, story.state.ready) == (STARTING, set())
        story(StopRequested)
        assert story(Ready, 1) == []


class TestCrashes:
    def crash(self, story: Story) -> list[Action]:
        """Let the worker die, and be ready again if it may."""
        actions = story(Exited, SEGFAULT)
        for action in actions:
            if isinstance(action, Plan) and action.alarm is Alarm.WORKER:
                story.wait(action.after)
                assert story(WorkerDue, action.worker) == [StartWorker(1)]
        story(Ready)
        return actions

    def test_first_restart_is_at_once_and_each_later_one_after_twice_as_long(self):
        story = serving(max_restarts=9, restart_window=3600.0)
        planned = [self.crash(story)[1] for _ in range(9)]
        delays = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        assert planned == [StartWorker(1), *(Plan(Alarm.WORKER, delay, 1) for delay in delays)]

    def test_deadline_begins_when_the_worker_is_started(self):
        """Else a short time-out could pass before there is anything that could be ready."""
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

    def test_those_before_the_window_do_not_count(self):
        story = serving(max_restarts=1, restart_window=60.0)
        for _ in range(20):
            assert self.crash(story)[1] == StartWorker(1)
            story.wait(60.0)
        assert story.phase is SERVING
        assert len(story.state.crashes) == 1

    @pytest.mark.parametrize(("later", "phase"), [(59.9, FAILED), (60.0, STARTING)])
    def test_window_ends_to_the_moment(self, later, phase):
        state = replace(serving(max_restarts=1).state, crashes=(100.0,))
        state, _ = decide(state, Exited(100.0 + later, SEGFAULT), Limits(max_restarts=1, restart_window=60.0))
        assert state.phase is phase

    def test_without_a_window_there_is_never_more_than_one(self):
        story = serving(max_restarts=1, restart_window=0.0)
        for _ in range(50):
            self.crash(story)
        assert story.phase is SERVING

    def test_none_is_allowed_when_the_limit_is_zero(self):
        story = serving(max_restarts=0)
        story(Exited, BAD)
        assert story.state.report == replace(BAD, cause=Cause.DIED)

    def test_failure_to_initialize_again_is_a_failure_whatever_the_limit(self):
        story = serving(max_restarts=5)
        story(Exited, SEGFAULT)
        story(InitFailed, BAD)
        assert (story.phase, story.state.report) == (FAILED, BAD)

    def test_restarts_are_counted(self):
        story = serving(max_restarts=9)
        for _ in range(4):
            self.crash(story)
        assert (story.state.crash_restarts, story.state.requested_restarts, story.state.retry_restarts) == (4, 0, 0)

    def test_reminder_for_a_worker_that_is_not_waited_for_is_nothing(self):
        assert serving()(WorkerDue, 1) == []
        assert failed()(WorkerDue, 1) == []
        assert retrying()(WorkerDue, 1) == []

    @pytest.mark.parametrize("crashes", range(200))
    def test_delay_never_shrinks_and_has_an_end(self, crashes):
        assert 0.0 <= restart_delay(crashes) <= restart_delay(crashes + 1) <= LONGEST_RESTART_DELAY


class TestReadyTooSoon:
    def test_is_a_failure_that_no_restart_repeats(self):
        story = serving()
        actions = story(ReadyTooSoon, BAD)
        assert actions == [NO_DEADLINE, NO_RESTART, StopWorker(1), KeepReport(BAD), StartErrorServer()]
        assert story.phase is FAILED
        assert story.state.crashes == ()

    def test_may_be_tried_again_later(self):
        assert serving(max_retries=1)(ReadyTooSoon, BAD)[-1] == RETRY_10_S

    def test_without_an_error_server_is_the_end(self):
        story = serving(error_server=False)
        assert story(ReadyTooSoon, BAD)[-1] == StopAll()
        assert story.state.exit_code == 3


class TestUnresponsive:
    """What cannot be told from a crash by those who ask is treated like one."""

    def test_is_replaced(self):
        story = serving()
        assert story(Unresponsive, HANGS) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.report, story.state.crash_restarts) == (STARTING, None, 1)
        assert story(Ready) == [NO_DEADLINE]

    def test_is_told_by_the_stand_in_until_it_is_ready_again(self):
        assert serving(stand_in=True)(Unresponsive, HANGS)[0] == StartStandIn()

    def test_counts_like_a_crash_and_with_crashes(self):
        story = serving(max_restarts=2)
        story(Exited, SEGFAULT)
        story(Ready)
        assert Plan(Alarm.WORKER, 1.0, 1) in story(Unresponsive, HANGS)
        story(Ready)
        assert story(Unresponsive, HANGS)[-2:] == [KeepReport(story.state.report), StartErrorServer()]
        assert (story.phase, story.state.report) == (FAILED, replace(HANGS, cause=Cause.KEPT_DYING))
        assert story.state.report.exit_code == 5

    def test_where_no_restart_is_allowed_is_a_failure(self):
        story = serving(max_restarts=0, error_server=False)
        assert story(Unresponsive, HANGS)[-1] == StopAll()
        assert story.state.report == replace(HANGS, cause=Cause.DIED)
        assert story(AllStopped) == [Exit(5)]

    def test_those_before_the_window_do_not_count(self):
        story = serving(max_restarts=1, restart_window=60.0)
        for _ in range(20):
            assert StartWorker(1) in story(Unresponsive, HANGS)
            story(Ready)
            story.wait(60.0)

    def test_may_be_tried_again_later(self):
        assert serving(max_restarts=0, max_retries=1)(Unresponsive, HANGS)[-1] == RETRY_10_S

    def test_are_all_workers_that_are_ready_together_and_one_crash(self):
        story = serving(workers=3)
        assert story(Unresponsive, HANGS) == [*stopped(1, 2, 3), *started(1, 2, 3), DEADLINE]
        assert (story.phase, story.state.coming, len(story.state.crashes)) == (STARTING, {1, 2, 3}, 1)
        assert story.state.crash_restarts == 1

    def test_are_all_workers_that_are_ready_each_with_its_reminder(self):
        story = serving(workers=2)
        story(Unresponsive, HANGS)
        for worker in (1, 2):
            story(Ready, worker)
        planned = [Plan(Alarm.WORKER, 1.0, 1), Plan(Alarm.WORKER, 1.0, 2)]
        assert story(Unresponsive, HANGS) == [*stopped(1, 2), *planned, Plan(Alarm.DEADLINE, 601.0)]

    def test_is_not_a_worker_that_is_on_its_way(self):
        story = serving(workers=2)
        story(Exited, SEGFAULT, 2)
        actions = story(Unresponsive, HANGS)
        assert StopWorker(2) not in actions
        assert (story.phase, story.state.coming) == (STARTING, {1, 2})

    def test_too_often_leaves_a_worker_that_is_on_its_way(self):
        story = serving(workers=2, max_restarts=1)
        story(Exited, SEGFAULT, 2)
        assert story(Unresponsive, HANGS) == [StopWorker(1), DEADLINE]
        assert (story.phase, story.state.coming, story.state.report) == (STARTING, {2}, HANGS)

    @pytest.mark.parametrize("begin", [starting, failed, retrying, stopping])
    def test_is_no_news_where_nobody_is_ready(self, begin):
        """The worker died, or was to be restarted, in the same turn."""
        story = begin()
        before = story.state
        assert (story(Unresponsive, HANGS), story.state) == ([], before)


class TestWorkersOfItsOwnThatAreKilled:
    """A master starts a worker again that the kernel has killed, and goes on for ever."""

    def test_count_and_need_no_answer_up_to_the_limit(self):
        story = serving(max_restarts=2)
        assert [story(WorkerKilled, TOO_LARGE) for _ in range(2)] == [[], []]
        assert (story.phase, story.state.ready, story.state.report) == (SERVING, {1}, None)
        assert (len(story.state.crashes), story.state.crash_restarts) == (2, 0)

    def test_once_too_often_are_a_failure_with_the_true_reason(self):
        story = serving(max_restarts=1, max_retries=1)
        story(WorkerKilled, TOO_LARGE)
        dying = replace(TOO_LARGE, cause=Cause.KEPT_DYING)
        failing = [NO_DEADLINE, NO_RESTART, StopWorker(1), KeepReport(dying), StartErrorServer()]
        assert story(WorkerKilled, TOO_LARGE) == [*failing, RETRY_10_S]
        assert (story.phase, story.state.report) == (FAILED, dying)

    def test_count_with_the_crashes_of_the_server_itself(self):
        story = serving(max_restarts=1)
        story(WorkerKilled, TOO_LARGE)
        story(Exited, SEGFAULT)
        assert story.phase is FAILED

    def test_before_the_window_do_not_count(self):
        story = serving(max_restarts=1)
        for _ in range(20):
            story(WorkerKilled, TOO_LARGE)
            story.wait(60.0)
        assert story.phase is SERVING

    def test_are_told_as_the_signal_where_no_restart_is_allowed(self):
        story = serving(max_restarts=0, error_server=False)
        assert story(WorkerKilled, TOO_LARGE)[-1] == StopAll()
        assert (story.state.report.cause, story.state.exit_code) == (Cause.DIED, 137)

    def test_of_one_server_leave_another_one_serving(self):
        story = serving(workers=2, max_restarts=0)
        assert story(WorkerKilled, TOO_LARGE, 2) == [StopWorker(2)]
        assert (story.phase, story.state.ready, story.state.report) == (SERVING, {1}, TOO_LARGE)

    def test_are_no_news_of_a_server_that_is_not_ready(self):
        story = serving(workers=2, max_restarts=0)
        story(RestartRequested, 2)
        assert story(WorkerKilled, TOO_LARGE, 2) == []
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {1}, {2})


class TestRetries:
    def retry(self, story: Story, event: Callable[..., Event] = InitFailed, report: FailureReport = BAD) -> list[float]:
        """Let a retry come and fail; return when the next ones are planned."""
        story(RetryDue)
        return [
            action.after for action in story(event, report) if isinstance(action, Plan) and action.alarm is Alarm.RETRY
        ]

    def test_come_after_twice_as_long_each_time_up_to_five_minutes(self):
        story = failed(max_retries=8)
        planned = [self.retry(story) for _ in range(8)]
        assert planned == [[20.0], [40.0], [80.0], [160.0], [300.0], [300.0], [300.0], []]

    def test_come_to_an_end(self):
        story = failed(max_retries=2)
        assert [attempts_left(story.state, story.limits)] == [2]
        self.retry(story)
        assert [attempts_left(story.state, story.limits)] == [1]
        assert self.retry(story) == []
        assert [attempts_left(story.state, story.limits)] == [0]
        assert story.phase is FAILED

    def test_are_not_planned_where_there_are_none(self):
        assert not any(isinstance(action, Plan) for action in starting(max_retries=0)(InitFailed, BAD))

    def test_are_not_more_frequent_than_was_asked_for(self):
        limits = Limits(retry_interval=1000.0)
        assert [retry_delay(number, limits) for number in (0, 1, 5)] == [1000.0] * 3

    @pytest.mark.parametrize("interval", [0.0, 0.5, 10.0, 300.0, 1e9])
    def test_delay_never_shrinks_and_has_an_end(self, interval):
        limits = Limits(retry_interval=interval)
        delays = [retry_delay(number, limits) for number in range(200)]
        assert delays == sorted(delays)
        assert delays[0] == interval
        assert delays[-1] <= max(LONGEST_RETRY_INTERVAL, interval)

    @pytest.mark.parametrize("report", [BAD, SEGFAULT, LATE])
    def test_come_after_every_kind_of_failure(self, report):
        assert starting(max_retries=1)(Exited, report)[-1] == RETRY_10_S

    @pytest.mark.parametrize("event", [InitFailed, Exited])
    def test_do_not_come_after_a_failure_that_would_only_come_again(self, event):
        story = starting(max_retries=3)
        assert not any(isinstance(action, Plan) for action in story(event, PERMANENT))
        assert (story.phase, attempts_left(story.state, story.limits)) == (FAILED, 0)

    def test_end_with_such_a_failure(self):
        story = retrying()
        assert not any(isinstance(action, Plan) for action in story(InitFailed, PERMANENT))

    def test_come_all_the_same_if_that_is_wanted(self):
        story = starting(max_retries=3, retry_permanent=True)
        assert story(InitFailed, PERMANENT)[-1] == RETRY_10_S
        assert attempts_left(story.state, story.limits) == 3

    def test_come_again_after_somebody_has_asked_for_one(self):
        story = failed(PERMANENT, max_retries=3)
        assert StartWorker(1) in story(RestartRequested)
        assert attempts_left(story.state, story.limits) == 3
        assert story(InitFailed, BAD)[-1] == RETRY_10_S

    def test_come_after_a_service_that_kept_dying(self):
        assert serving(max_retries=1, max_restarts=0)(Exited, SEGFAULT)[-1] == RETRY_10_S

    def test_attempts_are_counted_until_it_is_ready(self):
        story = failed(max_retries=3)
        assert story.state.attempt == 1
        self.retry(story)
        assert story.state.attempt == 2
        story(RetryDue)
        assert (story.state.attempt, story.state.retry_restarts) == (3, 2)
        story(Ready)
        assert (story.state.attempt, story.state.retries, story.state.report) == (1, 0, None)

    def test_error_server_goes_on_and_is_given_the_new_report(self):
        story = failed(max_retries=3)
        assert StopErrorServer() not in story(RetryDue)
        actions = story(InitFailed, WORSE)
        assert actions.index(KeepReport(WORSE)) < actions.index(StartErrorServer())

    def test_old_report_stays_until_there_is_news(self):
        story = failed(max_retries=3)
        story(RetryDue)
        assert story.state.report == BAD


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


class TestRestart:
    def test_while_starting_replaces_what_is_on_its_way(self):
        story = starting()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.coming) == (STARTING, {1})

    def test_while_serving_replaces_one_after_the_other(self):
        story = serving(workers=2)
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {2}, {1})
        assert story(Ready, 1) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {1}, {2})
        assert story(Ready, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.roll, story.state.requested_restarts) == (SERVING, None, 1)

    def test_of_several_goes_no_further_than_the_first_that_fails(self):
        story = serving(workers=3)
        story(RestartRequested)
        story(Ready, 1)
        story(InitFailed, BAD, 2)
        assert (story.phase, story.state.ready, story.state.roll) == (SERVING, {1, 3}, None)
        assert story.state.restart_failure == BAD

    def test_waits_for_a_worker_that_is_just_coming_back(self):
        story = serving(workers=3)
        story(Exited, SEGFAULT, 3)
        assert story(RestartRequested, 1) == [DEADLINE]
        assert story(Ready, 3) == [StopWorker(1), StartWorker(1), DEADLINE]

    def test_asked_for_twice_is_done_twice(self):
        story = serving(workers=2)
        story(RestartRequested)
        story(RestartRequested)
        replaced = [story(Ready, worker)[0] for worker in (1, 2, 1)]
        assert replaced == [StopWorker(2), StopWorker(1), NO_DEADLINE]

    def test_of_one_worker_leaves_the_others_serving(self):
        story = serving(workers=2)
        assert story(RestartRequested, 2) == [StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {1}, {2})

    def test_of_the_only_worker_is_starting(self):
        story = serving()
        story(RestartRequested, 1)
        assert story.phase is STARTING

    def test_while_failed_is_one_more_attempt_of_all_workers(self):
        story = failed(workers=2)
        assert story(RestartRequested, 2) == [Cancel(Alarm.RETRY), *started(1, 2), DEADLINE]
        assert (story.phase, story.state.attempt) == (RETRYING, 2)

    def test_while_retrying_begins_the_attempt_anew(self):
        story = retrying()
        assert story(RestartRequested) == [StopWorker(1), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.coming) == (RETRYING, {1})

    def test_while_stopping_is_too_late(self):
        story = stopping()
        before = story.state
        assert (story(RestartRequested), story.state) == ([], before)

    def test_gives_the_retries_back(self):
        story = failed(max_retries=1)
        story(RetryDue)
        story(InitFailed, BAD)
        assert attempts_left(story.state, story.limits) == 0
        story(RestartRequested)
        assert story(InitFailed, BAD)[-1] == RETRY_10_S

    def test_is_no_crash(self):
        story = serving(max_restarts=0)
        for _ in range(3):
            story(RestartRequested)
            story(Ready)
        assert (story.phase, story.state.crashes, story.state.requested_restarts) == (SERVING, (), 3)

    def test_that_cannot_initialize_is_a_failure(self):
        story = serving()
        story(RestartRequested)
        story(InitFailed, BAD)
        assert story.phase is FAILED

    def test_brings_back_a_worker_that_was_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(Exited, SEGFAULT, 1)
        assert StartWorker(1) in story(RestartRequested, 1)
        story(Ready, 1)
        assert story.state.ready == {1, 2}

    def test_of_a_worker_that_waits_for_its_time_is_at_once_and_only_once(self):
        story = serving(max_restarts=9)
        story(Exited, SEGFAULT)
        story(Ready)
        assert Plan(Alarm.WORKER, 1.0, 1) in story(Exited, SEGFAULT)
        assert StartWorker(1) in story(RestartRequested)
        story(Ready)
        assert story(WorkerDue, 1) == []


class TestHold:
    """What supervisorctl's stop and start do to a worker."""

    def test_of_the_only_worker_leaves_the_service_starting_for_as_long_as_it_takes(self):
        story = serving()
        assert story(HoldRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming, story.state.held) == (STARTING, set(), set(), {1})
        assert story.state.report is None

    def test_has_the_stand_in_answer(self):
        assert serving(stand_in=True)(HoldRequested) == [StartStandIn(), StopWorker(1), NO_DEADLINE]

    def test_is_over_with_a_start(self):
        story = serving()
        story(HoldRequested)
        assert story(StartRequested) == [StartWorker(1), DEADLINE]
        assert (story.phase, story.state.held, story.state.coming) == (STARTING, set(), {1})
        story(Ready)
        assert (story.phase, story.state.requested_restarts) == (SERVING, 1)

    @pytest.mark.parametrize("of", [None, 1])
    def test_is_over_with_a_restart(self, of):
        story = serving()
        story(HoldRequested)
        assert StartWorker(1) in story(RestartRequested, of)
        assert (story.phase, story.state.held) == (STARTING, set())

    def test_of_one_of_several_leaves_the_others_serving(self):
        story = serving(workers=2)
        assert story(HoldRequested, 1) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.ready) == (SERVING, {2})
        assert story(StartRequested, 1) == [StartWorker(1), DEADLINE]
        assert story(Ready, 1) == [NO_DEADLINE]
        assert story.state.ready == {1, 2}

    def test_of_all_one_after_the_other(self):
        story = serving(workers=2, stand_in=True)
        story(HoldRequested, 1)
        assert story(HoldRequested, 2) == [StartStandIn(), StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.held) == (STARTING, {1, 2})

    def test_leaves_alone_who_is_on_its_way(self):
        story = serving(workers=2, stand_in=True)
        story(Exited, SEGFAULT, 2)
        assert story(HoldRequested, 1) == [StartStandIn(), StopWorker(1), DEADLINE]
        assert (story.phase, story.state.coming) == (STARTING, {2})

    def test_of_one_that_waits_for_its_restart_lets_the_time_pass(self):
        story = serving(max_restarts=9)
        story(Exited, SEGFAULT)
        story(Ready)
        assert Plan(Alarm.WORKER, 1.0, 1) in story(Exited, SEGFAULT)
        story(HoldRequested)
        assert story(WorkerDue, 1) == []

    def test_while_it_starts(self):
        story = starting()
        assert story(HoldRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.held) == (STARTING, {1})

    @pytest.mark.parametrize(
        ("event", "about"), [(Ready, ()), (InitFailed, (BAD,)), (Exited, (SEGFAULT,)), (ReadyTooSoon, (BAD,))]
    )
    def test_what_the_worker_still_says_does_not_count(self, event, about):
        story = serving()
        story(HoldRequested)
        before = story.state
        assert (story(event, *about), story.state) == ([], before)

    @pytest.mark.parametrize("event", [DeadlinePassed, WorkerDue, HoldRequested])
    def test_nothing_ends_it_that_nobody_asked_for(self, event):
        story = serving()
        story(HoldRequested)
        story(event, *([LATE] if event is DeadlinePassed else [1]))
        assert (story.phase, story.state.held) == (STARTING, {1})

    def test_others_that_come_back_do_not_bring_it_along(self):
        story = starting(workers=2)
        story(HoldRequested, 1)
        assert story(Ready, 2) == [NO_DEADLINE]
        assert (story.phase, story.state.held, story.state.report) == (SERVING, {1}, None)

    def test_takes_a_successor_along(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        assert story(HoldRequested, 1)[:2] == [StopWorker(3), StopWorker(1)]
        assert (story.state.ready, story.state.coming, story.state.held, story.state.roll) == ({2}, set(), {1}, None)

    def test_of_what_has_been_replaced_with_overlap_is_of_who_serves_there(self):
        story = serving(workers=2)
        story(RestartRequested, 1, overlap=True)
        story(Ready, 3)
        assert StopWorker(3) in story(HoldRequested, 1)
        assert StartWorker(3) in story(StartRequested, 1)

    def test_lets_the_others_be_replaced_that_are_due(self):
        story = serving(workers=3)
        story(RestartRequested)
        assert story(HoldRequested, 1) == [StopWorker(1), StopWorker(2), StartWorker(2), DEADLINE]
        assert (story.state.held, story.state.coming) == ({1}, {2})

    def test_is_not_over_before_it_is_its_turn_to_be_replaced(self):
        story = serving(workers=2)
        story(HoldRequested, 2)
        story(RestartRequested)
        assert (story.state.held, story.state.coming) == ({2}, {1})
        assert story(Ready, 1) == [StopWorker(2), StartWorker(2)]
        assert (story.state.held, story.state.coming) == (set(), {2})

    def test_is_no_failure_when_the_others_were_given_up(self):
        story = serving(workers=2, max_restarts=0)
        story(Exited, SEGFAULT, 1)
        assert story(HoldRequested, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.held) == (STARTING, {2})

    def test_is_no_failure_of_the_others_either(self):
        story = serving(workers=2, max_restarts=0)
        story(HoldRequested, 1)
        story(Exited, SEGFAULT, 2)
        assert (story.phase, story.state.held) == (FAILED, {1})

    def test_behind_the_error_server_ends_the_attempts(self):
        story = retrying(max_retries=3)
        assert story(HoldRequested) == [StopWorker(1), NO_DEADLINE]
        assert (story.phase, story.state.held) == (FAILED, {1})
        assert story(RetryDue) == []

    def test_behind_the_error_server_the_others_are_retried_without_it(self):
        story = failed(workers=2, max_retries=3)
        story(RetryDue)
        story(InitFailed, WORSE, 1)
        assert Plan(Alarm.RETRY, 20.0) in story(HoldRequested, 2)
        assert story(RetryDue) == [Cancel(Alarm.RETRY), StartWorker(1), DEADLINE]

    def test_of_what_has_failed_is_nothing(self):
        story = failed()
        before = story.state
        assert (story(HoldRequested), story.state) == ([], before)


class TestStart:
    def test_after_a_failure_is_a_retry_as_by_a_restart(self):
        story = failed()
        assert story(StartRequested) == [Cancel(Alarm.RETRY), StartWorker(1), DEADLINE]
        assert (story.phase, story.state.attempt, story.state.requested_restarts) == (RETRYING, 2, 1)

    def test_of_a_worker_that_was_given_up_brings_it_back(self):
        story = serving(workers=2, max_restarts=0)
        story(Exited, SEGFAULT, 1)
        assert story(StartRequested, 1) == [StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("begin", [starting, serving, retrying, stopping])
    def test_of_what_runs_or_will_run_is_nothing(self, begin):
        story = begin()
        before = story.state
        assert (story(StartRequested), story.state) == ([], before)


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


class TestErrorServer:
    def test_that_cannot_start_either_when_plain_is_tried_again_after_a_moment(self):
        """And not at once, for ever."""
        story = failed()
        assert story(ErrorServerExited, was_ready=False, plain=True) == [Plan(Alarm.ERROR_SERVER, ERROR_SERVER_DELAY)]

    @pytest.mark.parametrize("begin", [starting, serving, stopping])
    @pytest.mark.parametrize("event", [ErrorServerExited, ErrorServerDue])
    def test_that_is_not_wanted_any_more_is_not_started_again(self, begin, event):
        assert begin()(event) == []

    def test_is_started_again_although_a_retry_is_under_way(self):
        story = retrying()
        story(ErrorServerExited)
        story(InitFailed, BAD)
        assert story(ErrorServerDue) == [StartErrorServer()]


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


def event_of(kind: type[Event], at: float, chance: random.Random, workers: int) -> Event:
    """Return an event of this kind, with details by chance."""
    about: dict[str, object] = {}
    names = kind.__dataclass_fields__
    if "report" in names:
        about["report"] = chance.choice([BAD, WORSE, PERMANENT, SEGFAULT, LATE])
    if "worker" in names:
        about["worker"] = chance.randint(1, 2 * workers)
    if kind is RestartRequested:
        about["worker"] = chance.choice([None, chance.randint(1, workers)])
        about |= {"overlap": chance.random() < 0.5, "cause": chance.choice(list(RestartCause))}
    if kind is EssentialEnded:
        about |= {"code": 7, "words": "metrics, an essential program, exited with status 7"}
    if kind is ErrorServerExited:
        about |= {"was_ready": chance.random() < 0.5, "plain": chance.random() < 0.5}
    if kind is StandInExited:
        about["was_ready"] = chance.random() < 0.5
    return kind(at, **about)


ALL_LIMITS = [
    Limits(),
    Limits(max_restarts=0),
    Limits(error_server=False),
    Limits(workers=3, stand_in=True),
    Limits(workers=2, max_retries=2, ttl=100.0, restart_window=10.0, max_restarts=2),
    Limits(max_retries=3, retry_permanent=True, stand_in=True, max_restarts=1),
    Limits(workers=4, max_retries=10**6, max_restarts=10**6, retry_interval=0.0, stand_in=True),
    Limits(workers=2, error_server=False, max_restarts=1, stand_in=True),
]


class TestOverlap:
    """The successor of 1 is 3, that of 2 is 4, and the other way round."""

    def test_the_new_one_is_ready_before_the_old_one_stops(self):
        story = serving(workers=2)
        assert story(RestartRequested, None, overlap=True) == [StartWorker(3), DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {1, 2}, {3})
        assert story(Ready, 3) == [StopWorker(1)]
        assert (story.state.ready, workers_of(story.state, story.limits)) == ({2, 3}, {2, 3})
        assert story(Gone, 1) == [StartWorker(4), DEADLINE]
        assert story(Ready, 4) == [StopWorker(2)]
        assert story(Gone, 2) == []
        assert (story.state.ready, story.state.roll) == ({3, 4}, None)

    def test_the_next_time_it_goes_back(self):
        story = serving()
        for new, old in ((2, 1), (1, 2)):
            assert story(RestartRequested, 1, overlap=True) == [StartWorker(new), DEADLINE]
            assert story(Ready, new) == [StopWorker(old)]
            story(Gone, old)
        assert story.phase is SERVING

    @pytest.mark.parametrize("kind", [InitFailed, Exited])
    def test_if_the_new_one_fails_the_old_one_stays_and_that_is_no_crash(self, kind):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        assert story(kind, BAD, 2) == [StopWorker(2), NO_DEADLINE]
        assert (story.phase, story.state.ready, story.state.coming) == (SERVING, {1}, set())
        assert (story.state.restart_failure, story.state.report, story.state.crashes) == (BAD, None, ())

    def test_if_the_new_one_is_too_late_the_old_one_stays(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(DeadlinePassed, LATE) == [NO_RESTART, StopWorker(2)]
        assert (story.phase, story.state.ready, story.state.restart_failure) == (SERVING, {1}, LATE)

    def test_the_next_request_forgets_the_last_failure(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(InitFailed, BAD, 2)
        story(RestartRequested, None, overlap=True)
        assert story.state.restart_failure is None

    def test_an_old_one_that_crashes_meanwhile_has_its_successor_already(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(Exited, SEGFAULT, 1) == [StopWorker(1), DEADLINE]
        assert (story.phase, story.state.coming, story.state.crash_restarts) == (STARTING, {2}, 1)
        story(Ready, 2)
        assert (story.phase, story.state.ready, story.state.roll) == (SERVING, {2}, None)

    def test_a_successor_that_crashes_later_is_started_again_in_its_place(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        story(Ready, 2)
        story(Gone, 1)
        assert story(Exited, SEGFAULT, 2) == [StopWorker(2), StartWorker(2), DEADLINE]

    def test_a_failed_service_stops_both_sides(self):
        story = serving(max_restarts=0)
        story(RestartRequested, None, overlap=True)
        story(Ready, 2)
        assert {StopWorker(1), StopWorker(2)} <= set(story(Exited, SEGFAULT, 2))
        assert story.phase is FAILED

    def test_who_answers_no_more_is_restarted_without_overlap(self):
        story = serving()
        story(RestartRequested, None, overlap=True)
        assert story(Unresponsive, HANGS) == [StopWorker(2), StopWorker(1), StartWorker(1), DEADLINE]
        assert story.state.restart_failure == HANGS

    def test_a_worker_that_does_not_serve_is_replaced_at_once(self):
        story = serving(workers=2, max_restarts=0)
        story(Exited, SEGFAULT, 1)
        assert story(RestartRequested, 1, overlap=True) == [StopWorker(1), StartWorker(1), DEADLINE]

    @pytest.mark.parametrize("cause", RestartCause)
    def test_it_is_counted_by_its_cause(self, cause):
        story = serving()
        story(RestartRequested, 1, overlap=True, cause=cause)
        state = story.state
        counts = (state.requested_restarts, state.memory_restarts, state.spent_restarts)
        assert counts == tuple(int(each is cause) for each in RestartCause)


class TestExhaustive:
    @pytest.mark.parametrize("begin", [Story, starting, serving, failed, retrying, stopping])
    @pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
    def test_every_event_is_answered_in_every_phase(self, begin, kind):
        story = begin()
        _, actions = decide(story.state, event_of(kind, 1.0, random.Random(1), 1), story.limits)
        assert isinstance(actions, list)

    def test_there_are_all_the_events_that_this_test_thinks_of(self):
        assert len(EVENTS) == 23

    @pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
    def test_a_stopping_supervisor_only_kills_or_ends(self, kind):
        story = stopping()
        _, actions = decide(story.state, event_of(kind, 1.0, random.Random(1), 1), story.limits)
        assert actions in ([], [KillAll()], [Exit(0)])


def check(state: State, actions: Iterable[Action], event: Event, before: State, limits: Limits) -> None:
    """Assert what holds after every decision."""
    actions = list(actions)
    kinds = [type(action) for action in actions]
    assert not state.ready & state.coming
    roll = state.roll or Roll()
    assert state.ready | state.coming <= workers_of(state, limits) | {roll.new, roll.old}
    assert not roll.new or roll.new in state.coming
    assert not (roll.new and roll.old) or roll.old in state.ready
    assert not {place_of(worker, limits) for worker in state.ready | state.coming} & state.held
    assert state.held <= limits.all_workers
    assert bool(state.ready) == (state.phase is SERVING)
    assert bool(state.coming) or state.phase is not RETRYING
    assert bool(state.coming or state.held) or state.phase is not STARTING
    assert not state.coming or state.phase not in (FAILED, STOPPING)
    assert (state.report is not None) or state.phase not in (FAILED, RETRYING)
    assert (
        state.report is None
        or state.phase in (FAILED, RETRYING, STOPPING)
        or not state.ready >= workers_of(state, limits)
    )
    assert state.attempt >= 1
    assert list(state.crashes) == sorted(state.crashes)
    assert all(at >= state.crashes[-1] - limits.restart_window for at in state.crashes)
    if StartErrorServer in kinds:
        assert state.phase in (FAILED, RETRYING)
        assert limits.error_server
    assert not state.explained or state.phase in (FAILED, RETRYING, STOPPING)
    if StartStandIn in kinds:
        assert state.phase in (STARTING, FAILED, RETRYING)
        assert limits.stand_in
        assert not state.explained
    if Exit in kinds:
        assert isinstance(event, AllStopped)
        assert actions == [Exit(before.exit_code)]
        assert before.phase is STOPPING
    if KillAll in kinds:
        assert before.phase is STOPPING
    assert (StopAll in kinds) == (state.phase is STOPPING and before.phase is not STOPPING)
    if before.phase is STOPPING:
        assert state == before
    if state.phase is FAILED and before.phase is not FAILED and not isinstance(event, HoldRequested):
        assert kinds.index(KeepReport) < kinds.index(StartErrorServer)
    for action in actions:
        if isinstance(action, StartWorker):
            assert action.worker in state.coming
        if isinstance(action, StopWorker):
            assert action.worker not in state.ready
        if isinstance(action, Plan):
            assert 0.0 <= action.after <= 10**10
    assert len({(p.alarm, p.worker) for p in actions if isinstance(p, Plan)}) == kinds.count(Plan)


class TestRandomWalk:
    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_invariants_hold_whatever_happens(self, limits):
        """Also events that cannot happen by now: a late alarm, a word from a worker that was stopped."""
        chance = random.Random(repr(limits))
        kinds = [kind for kind in EVENTS if kind not in (Begun, EssentialEnded, StopRequested, AllStopped, TtlOver)]
        for _ in range(40):
            story = starting(**vars(limits))
            for _ in range(150):
                story.wait(chance.choice([0.0, 0.0, 1.0, 20.0]))
                kind = chance.choice(kinds if chance.random() < 0.99 else EVENTS[1:])
                event = event_of(kind, story.now, chance, limits.workers)
                before = story.state
                story.state, actions = decide(before, event, limits)
                check(story.state, actions, event, before, limits)

    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_decisions_are_pure(self, limits):
        chance = random.Random(repr(limits))
        state = starting(**vars(limits)).state
        for number in range(1000):
            event = event_of(chance.choice(EVENTS[1:-2]), float(number), chance, limits.workers)
            given = copy.deepcopy((state, event, limits))
            first = decide(state, event, limits)
            assert (state, event, limits) == given
            assert decide(*given) == first
            state = first[0] if first[0].phase is not STOPPING else starting(**vars(limits)).state


class World:
    """What the actions lead to: processes that run, alarms that are set. Only what can happen does."""

    def __init__(self, limits: Limits, seed: str) -> None:
        self.chance = random.Random(seed)
        self.story = Story(limits)
        self.running: set[int] = set()
        self.leaving: set[int] = set()
        self.alarms: dict[tuple[Alarm, int], float] = {}
        self.error_server = ""
        self.stand_in = False
        self.ended = False

    def possible(self) -> list[Event]:
        """Return what may happen next."""
        now, state = self.story.now, self.story.state
        report = self.chance.choice([BAD, WORSE, PERMANENT, SEGFAULT])
        found: list[Event] = []
        for worker in sorted(self.running):
            found += [Exited(now, report, worker), InitFailed(now, report, worker)]
            found += [Ready(now, worker)] * 3 if worker in state.coming else []
            found.append(WorkerKilled(now, TOO_LARGE, worker))
        if state.ready:
            found.append(Unresponsive(now, HANGS))
        if self.error_server:
            plain = self.error_server == "plain"
            found += [ErrorServerExited(now, True, plain), ErrorServerExited(now, False, plain)]
            found += [] if state.explained else [ErrorServerReady(now)]
        if self.stand_in:
            found.append(StandInExited(now))
        found += [Gone(now, worker) for worker in sorted(self.leaving)] * 2
        one = self.chance.choice(sorted(self.story.limits.all_workers))
        overlap = self.chance.random() < 0.5
        cause = self.chance.choice(list(RestartCause))
        found += [RestartRequested(now, None, overlap), RestartRequested(now, one, overlap, cause)]
        return [*found, HoldRequested(now, one), StartRequested(now, one), StartRequested(now, one)]

    def next_event(self) -> Event:
        """Return an alarm that rings, or what happens before it does."""
        story = self.story
        first = min(self.alarms, key=lambda key: self.alarms[key], default=None)
        if first is not None and self.chance.random() < 0.3:
            story.now = max(story.now, self.alarms.pop(first))
            return self.rung(*first)
        return self.chance.choice(self.possible())

    def rung(self, alarm: Alarm, worker: int) -> Event:
        now = self.story.now
        if alarm is Alarm.DEADLINE:
            return DeadlinePassed(now, LATE)
        if alarm is Alarm.WORKER:
            return WorkerDue(now, worker)
        if alarm is Alarm.STAND_IN:
            return StandInDue(now)
        return {Alarm.RETRY: RetryDue, Alarm.END: TtlOver, Alarm.ERROR_SERVER: ErrorServerDue}[alarm](now)

    def step(self, event: Event) -> None:
        """Let `event` happen, and carry out what is to be done."""
        if isinstance(event, Exited):
            self.running.discard(event.worker)
        if isinstance(event, Gone):
            self.leaving.discard(event.worker)
        if isinstance(event, ErrorServerExited):
            self.error_server = ""
        if isinstance(event, StandInExited):
            self.stand_in = False
        before = self.story.state
        self.story.state, actions = decide(before, event, self.story.limits)
        check(self.story.state, actions, event, before, self.story.limits)
        for action in actions:
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case StartWorker(worker):
                self.running.add(worker)
            case StopWorker(worker):
                if worker in self.running:
                    self.leaving.add(worker)
                self.running.discard(worker)
            case StartErrorServer(plain):
                self.error_server = self.error_server or ("plain" if plain else "error")
            case StopErrorServer():
                self.error_server = ""
            case StartStandIn():
                self.stand_in = True
            case StopStandIn():
                self.stand_in = False
            case Plan(alarm, after, worker):
                self.alarms[alarm, worker] = self.story.now + after
            case Cancel(alarm):
                self.alarms = {key: at for key, at in self.alarms.items() if key[0] is not alarm}
            case StopAll():
                self.running, self.error_server, self.stand_in = set(), "", False
            case Exit():
                self.ended = True

    def planned(self, alarm: Alarm, worker: int = 0) -> bool:
        return (alarm, worker) in self.alarms

    def check(self) -> None:
        """Assert that nothing waits for what will never come, and nothing runs that nobody knows of."""
        state, limits = self.story.state, self.story.limits
        phase = state.phase
        assert 0 <= state.retries <= limits.max_retries
        waiting = {worker for worker in state.coming if self.planned(Alarm.WORKER, worker)}
        assert state.ready <= self.running <= state.ready | state.coming
        assert state.coming <= self.running | waiting
        assert self.planned(Alarm.DEADLINE) or not state.coming
        assert state.roll is None or state.coming or state.roll.old in self.leaving
        assert self.planned(Alarm.RETRY) == (phase is FAILED and attempts_left(state, limits) > 0)
        assert self.planned(Alarm.END) == (phase in (FAILED, RETRYING) and limits.ttl > 0)
        answered = phase is SERVING or state.explained
        assert not self.stand_in or not answered
        if limits.stand_in and not answered:
            assert self.stand_in or self.planned(Alarm.STAND_IN)
        if phase in (FAILED, RETRYING):
            assert self.error_server or self.planned(Alarm.ERROR_SERVER)
        else:
            assert not self.error_server


class TestNothingIsForgotten:
    @pytest.mark.parametrize("limits", ALL_LIMITS, ids=repr)
    def test_in_a_long_life(self, limits):
        for number in range(30):
            world = World(limits, f"{number} {limits}")
            world.step(Begun(0.0))
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
