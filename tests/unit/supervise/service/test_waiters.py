"""Who waits on the control socket is looked at again soon after something has changed, and once for all waiters."""

import pytest

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.service.waiters import WAKE_AFTER, Waiters


@pytest.fixture
def timers(clock):
    return Timers(clock)


@pytest.fixture
def wakes():
    """A list that grows with each waking of the loop."""
    return []


@pytest.fixture
def waiters(timers, wakes):
    return Waiters(timers, lambda: wakes.append("wake"))


def test_turn_without_a_change_tells_nobody(waiters, timers):
    assert not waiters.answer()
    assert timers.seconds_left() == float("inf")


def test_changes_of_a_turn_are_told_together_a_moment_later(waiters, timers, clock, wakes):
    waiters.note_change()
    waiters.note_change()
    assert waiters.serial == 2
    assert waiters.answer()
    assert not waiters.answer()
    assert wakes == []
    clock.now += WAKE_AFTER
    timers.ring()
    assert wakes == ["wake"]


def test_output_that_is_awaited_is_told_though_nothing_has_changed(waiters, timers, clock, wakes):
    assert waiters.output_ready_at is None
    waiters.output_arrived()
    assert waiters.output_ready_at == clock.now
    clock.now += WAKE_AFTER
    timers.ring()
    assert wakes == ["wake"]
    assert (waiters.serial, waiters.answer()) == (0, False)
