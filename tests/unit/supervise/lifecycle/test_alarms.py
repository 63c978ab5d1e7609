"""The alarms of the policy, on a clock that the test sets."""

import pytest

from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.supervise.lifecycle.actions import JITTER, Alarms
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.actions import Alarm
from tests.unit.contexts import make_context, taken

LATE = FailureReport(Cause.STARTUP_TIMEOUT, "not ready within 600 s")


class World:
    """Alarms, their events, and a launcher that waits for a predecessor."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.predecessor_goes_at = 0.0
        self.context = make_context(lambda: self.now, workers=2)
        self.alarms = Alarms(self.context, self, lambda: LATE)

    def seconds_to_wait(self) -> float:
        return max(self.predecessor_goes_at - self.now, 0.0)

    def wait(self, seconds: float) -> list[events.Event]:
        """Let time pass; return the events."""
        self.now += seconds
        self.context.timers.ring()
        return taken(self.context)

    def due_at(self, alarm: Alarm) -> float | None:
        return self.context.timers.at((alarm, 0))


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("alarm", "worker", "event"),
    [
        (Alarm.DEADLINE, 0, events.StartupTimedOut(1005.0, LATE)),
        (Alarm.WORKER, 2, events.WorkerRestartDue(1005.0, 2)),
        (Alarm.ERROR_SERVER, 0, events.ErrorServerRestartDue(1005.0)),
        (Alarm.TTL, 0, events.ErrorServerTtlExpired(1005.0)),
    ],
)
def test_each_alarm_becomes_its_event(world, alarm, worker, event):
    world.alarms.set(alarm, 5.0, worker)
    assert world.wait(4.9) == []
    world.now = 1005.0
    assert world.wait(0.0) == [event]
    assert world.wait(1000.0) == []


def test_retries_have_jitter(world):
    due = set()
    for _ in range(100):
        world.alarms.set(Alarm.RETRY, 10.0)
        due.add(world.due_at(Alarm.RETRY) - world.now)
    assert len(due) > 50
    assert 10.0 * (1 - JITTER) <= min(due) < 10.0 < max(due) <= 10.0 * (1 + JITTER)
    assert world.wait(11.0) == [events.RetryDue(1011.0)]


def test_cancel_is_for_all_workers(world):
    for worker in (1, 2):
        world.alarms.set(Alarm.WORKER, 1.0, worker)
    world.alarms.set(Alarm.TTL, 1.0)
    world.alarms.cancel(Alarm.WORKER)
    assert world.wait(1.0) == [events.ErrorServerTtlExpired(1001.0)]
    assert world.due_at(Alarm.TTL) is None


class TestDeadline:
    def test_is_postponed_while_a_predecessor_is_stopping(self, world):
        world.predecessor_goes_at = 1050.0
        world.alarms.set(Alarm.DEADLINE, 5.0)
        assert world.wait(5.0) == []
        assert world.wait(44.0) == []

    def test_restarts_with_the_start(self, world):
        world.predecessor_goes_at = 1050.0
        world.alarms.set(Alarm.DEADLINE, 5.0)
        world.wait(20.0)
        world.predecessor_goes_at = 0.0
        world.alarms.set(Alarm.DEADLINE, 5.0)
        assert world.wait(4.0) == []
        assert world.wait(1.0) == [events.StartupTimedOut(1025.0, LATE)]

    def test_passes_if_a_predecessor_cannot_be_killed(self, world):
        world.predecessor_goes_at = 1050.0
        world.alarms.set(Alarm.DEADLINE, 5.0)
        world.wait(5.0)
        assert world.wait(45.0) == [events.StartupTimedOut(1050.0, LATE)]

    def test_is_the_only_alarm_that_is_postponed(self, world):
        world.predecessor_goes_at = 1050.0
        world.alarms.set(Alarm.WORKER, 5.0, 1)
        assert world.wait(5.0) == [events.WorkerRestartDue(1005.0, 1)]
