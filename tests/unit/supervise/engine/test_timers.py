"""Timers, on a clock that the test sets."""

import pytest

from drum_supervisor.supervise.engine.timers import Timers


@pytest.fixture
def timers(clock):
    return Timers(clock)


@pytest.fixture
def called():
    return []


def test_timer_is_called_once_when_it_is_due(timers, clock, called):
    timers.set("a", 5.0, lambda: called.append("a"))
    clock.now += 4.999
    timers.ring()
    assert called == []
    clock.now += 0.001
    timers.ring()
    timers.ring()
    assert called == ["a"]


def test_due_timers_are_called_in_order_of_time(timers, clock, called):
    for name, after in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        timers.set(name, after, lambda name=name: called.append(name))
    clock.now += 10
    timers.ring()
    assert called == ["early", "middle", "late"]


def test_timers_due_at_once_are_called_in_order_of_setting(timers, clock, called):
    for name in "cab":
        timers.set(name, 1.0, lambda name=name: called.append(name))
    clock.now += 1
    timers.ring()
    assert called == ["c", "a", "b"]


def test_same_key_replaces_a_timer(timers, clock, called):
    timers.set("a", 1.0, lambda: called.append("first"))
    timers.set("a", 5.0, lambda: called.append("second"))
    clock.now += 2
    timers.ring()
    assert called == []
    clock.now += 3
    timers.ring()
    assert called == ["second"]


def test_any_hashable_is_a_key(timers, clock, called):
    for key in ("a", ("a", 1), ("a", 2), object(), None):
        timers.set(key, 1.0, lambda key=key: called.append(key))
    clock.now += 1
    timers.ring()
    assert len(called) == 5


def test_cancelled_timer_is_not_called(timers, clock, called):
    timers.set("a", 1.0, lambda: called.append("a"))
    timers.cancel("a")
    timers.cancel("a")
    timers.cancel("never set")
    clock.now += 2
    timers.ring()
    assert called == []


def test_at_returns_the_due_time(timers):
    assert timers.at("a") is None
    timers.set("a", 5.0, lambda: None)
    assert timers.at("a") == 105.0
    timers.cancel("a")
    assert timers.at("a") is None


def test_seconds_left_until_the_next_timer(timers, clock):
    assert timers.seconds_left() == float("inf")
    timers.set("a", 5.0, lambda: None)
    timers.set("b", 2.0, lambda: None)
    assert timers.seconds_left() == 2.0
    clock.now += 10
    assert timers.seconds_left() == 0.0


def test_call_may_set_its_timer_again(timers, clock, called):
    def again() -> None:
        called.append(clock.now)
        timers.set("a", 1.0, again)

    timers.set("a", 1.0, again)
    for _ in range(3):
        clock.now += 1
        timers.ring()
    assert called == [101.0, 102.0, 103.0]


def test_call_without_delay_does_not_loop(timers, called):
    def again() -> None:
        called.append(1)
        timers.set("a", 0.0, again)

    timers.set("a", 0.0, again)
    timers.ring()
    assert called == [1]


def test_call_may_cancel_another_due_timer(timers, clock, called):
    timers.set("a", 1.0, lambda: timers.cancel("b"))
    timers.set("b", 2.0, lambda: called.append("b"))
    clock.now += 5
    timers.ring()
    assert called == []


def test_call_may_postpone_another_due_timer(timers, clock, called):
    timers.set("a", 1.0, lambda: timers.set("b", 1.0, lambda: called.append("b later")))
    timers.set("b", 2.0, lambda: called.append("b"))
    clock.now += 5
    timers.ring()
    assert called == []
    clock.now += 1
    timers.ring()
    assert called == ["b later"]


def test_failing_call_keeps_other_timers(timers, clock, called):
    timers.set("a", 1.0, lambda: {}["nothing"])
    timers.set("b", 2.0, lambda: called.append("b"))
    clock.now += 5
    with pytest.raises(KeyError):
        timers.ring()
    timers.ring()
    assert called == ["b"]
