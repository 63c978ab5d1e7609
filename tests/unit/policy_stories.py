"""Services in each phase for tests of the policy, and what happens to them event by event."""

from collections.abc import Callable
from dataclasses import dataclass, field

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy.actions import Action, Alarm, CancelAlarm, SetAlarm, StartWorker, StopWorker
from drum_supervisor.supervise.policy.events import (
    Event,
    RetryDue,
    StopRequested,
    SupervisorStarted,
    WorkerInitFailed,
    WorkerReady,
)
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.policy.table import decide

STARTING, SERVING, FAILED, RETRYING, STOPPING = Phase

BAD = FailureReport(Cause.INIT_FAILED, "bad weights", type="ValueError")
WORSE = FailureReport(Cause.INIT_FAILED, "no weights", type="KeyError")
PERMANENT = FailureReport(Cause.INIT_FAILED, "invalid syntax", type="SyntaxError", permanent=True)
SEGFAULT = FailureReport(Cause.INIT_FAILED, "killed by SIGSEGV", signal=11)
HANGS = FailureReport(Cause.INIT_FAILED, "did not answer GET /x within 5 s, 3 times in a row")
TOO_LARGE = FailureReport(Cause.INIT_FAILED, "out of memory: killed by the kernel", signal=9, out_of_memory=True)
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "not ready within 600 s")

DEADLINE = SetAlarm(Alarm.DEADLINE, 600.0)
NO_DEADLINE = CancelAlarm(Alarm.DEADLINE)
NO_RESTART = CancelAlarm(Alarm.WORKER)
RETRY_10_S = SetAlarm(Alarm.RETRY, 10.0)


@dataclass
class Story:
    """A service that goes through one event after another."""

    limits: Limits = field(default_factory=Limits)
    state: State = field(default_factory=State)
    now: float = 0.0

    @property
    def phase(self) -> Phase:
        return self.state.phase

    def __call__(self, event: Callable[..., Event], *about: object, **more: object) -> list[Action]:
        """Let `event` happen one second later; return the resulting actions."""
        self.now += 1.0
        self.state, actions = decide(self.state, event(self.now, *about, **more), self.limits)
        return actions

    def wait(self, seconds: float) -> None:
        self.now += seconds


def starting(**limits: object) -> Story:
    story = Story(Limits(**limits))
    story(SupervisorStarted)
    return story


def serving(**limits: object) -> Story:
    story = starting(**limits)
    for worker in sorted(story.limits.slots):
        story(WorkerReady, worker)
    assert story.phase is SERVING
    return story


def failed(report: FailureReport = BAD, **limits: object) -> Story:
    story = starting(**limits)
    for worker in sorted(story.limits.slots):
        story(WorkerInitFailed, report, worker)
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
