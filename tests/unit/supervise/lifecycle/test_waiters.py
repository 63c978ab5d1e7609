"""Who waits on the control socket is looked at again soon after something has changed, and once for all changes."""

import pytest

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.lifecycle.waiters import TELL_AFTER, Waiters


@pytest.fixture
def timers(clock):
    return Timers(clock)


@pytest.fixture
def wakes():
    """A list that grows with each waking of the loop."""
    return []


@pytest.fixture
def changes(timers, wakes):
    return Waiters(timers, lambda: wakes.append("wake"))


def test_turn_without_a_change_tells_nobody(changes, timers):
    assert not changes.are_told()
    assert timers.seconds_left() == float("inf")


def test_changes_of_a_turn_are_told_together_a_moment_later(changes, timers, clock, wakes):
    changes.note()
    changes.note()
    assert changes.serial == 2
    assert changes.are_told()
    assert not changes.are_told()
    assert wakes == []
    clock.now += TELL_AFTER
    timers.ring()
    assert wakes == ["wake"]


def test_output_that_is_awaited_is_told_though_nothing_has_changed(changes, timers, clock, wakes):
    assert changes.output_awaited_at is None
    changes.output_awaited()
    assert changes.output_awaited_at == clock.now
    clock.now += TELL_AFTER
    timers.ring()
    assert wakes == ["wake"]
    assert (changes.serial, changes.are_told()) == (0, False)
