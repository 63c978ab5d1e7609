"""Waiting clients are answered soon after a change, all at once."""

import pytest

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.service.waiters import WAKE_AFTER, Waiters


@pytest.fixture
def timers(clock):
    return Timers(clock)


@pytest.fixture
def wakes():
    return []


@pytest.fixture
def waiters(timers, wakes):
    return Waiters(timers, lambda: wakes.append("wake"))


def test_turn_without_a_change_answers_nothing(waiters, timers):
    waiters.answer()
    assert timers.seconds_left() == float("inf")


def test_changes_of_a_turn_are_answered_together(waiters, timers, clock, wakes):
    waiters.note_change()
    waiters.note_change()
    assert waiters.serial == 2
    waiters.answer()
    clock.now += WAKE_AFTER / 2
    waiters.answer()
    assert timers.seconds_left() == pytest.approx(WAKE_AFTER / 2)
    assert wakes == []
    clock.now += WAKE_AFTER
    timers.ring()
    assert wakes == ["wake"]


def test_awaited_output_is_answered_without_a_change(waiters, timers, clock, wakes):
    assert waiters.output_ready_at is None
    waiters.output_arrived()
    assert waiters.output_ready_at == clock.now
    clock.now += WAKE_AFTER
    timers.ring()
    assert wakes == ["wake"]
    assert waiters.serial == 0
