"""Reminders, on a clock that the test sets."""

import pytest

from drum_supervisor.supervise.engine.timers import Timers


@pytest.fixture
def timers(clock):
    return Timers(clock)


@pytest.fixture
def rung():
    """What has rung, in order."""
    return []


def test_rings_when_its_time_has_come_and_only_once(timers, clock, rung):
    timers.set("a", 5.0, lambda: rung.append("a"))
    clock.now += 4.999
    timers.ring()
    assert rung == []
    clock.now += 0.001
    timers.ring()
    timers.ring()
    assert rung == ["a"]


def test_rings_in_the_order_of_time(timers, clock, rung):
    for name, after in (("late", 3.0), ("early", 1.0), ("middle", 2.0)):
        timers.set(name, after, lambda name=name: rung.append(name))
    clock.now += 10
    timers.ring()
    assert rung == ["early", "middle", "late"]


def test_of_the_same_time_rings_in_the_order_in_which_they_were_set(timers, clock, rung):
    for name in "cab":
        timers.set(name, 1.0, lambda name=name: rung.append(name))
    clock.now += 1
    timers.ring()
    assert rung == ["c", "a", "b"]


def test_same_key_replaces(timers, clock, rung):
    timers.set("a", 1.0, lambda: rung.append("first"))
    timers.set("a", 5.0, lambda: rung.append("second"))
    clock.now += 2
    timers.ring()
    assert rung == []
    clock.now += 3
    timers.ring()
    assert rung == ["second"]


def test_any_hashable_is_a_key(timers, clock, rung):
    for key in ("a", ("a", 1), ("a", 2), object(), None):
        timers.set(key, 1.0, lambda key=key: rung.append(key))
    clock.now += 1
    timers.ring()
    assert len(rung) == 5


def test_cancelled_rings_no_more(timers, clock, rung):
    timers.set("a", 1.0, lambda: rung.append("a"))
    timers.cancel("a")
    timers.cancel("a")
    timers.cancel("never set")
    clock.now += 2
    timers.ring()
    assert rung == []


def test_tells_when_it_is_due(timers):
    assert timers.at("a") is None
    timers.set("a", 5.0, lambda: None)
    assert timers.at("a") == 105.0
    timers.cancel("a")
    assert timers.at("a") is None


def test_tells_how_long_the_loop_may_sleep(timers, clock):
    assert timers.seconds_left() == float("inf")
    timers.set("a", 5.0, lambda: None)
    timers.set("b", 2.0, lambda: None)
    assert timers.seconds_left() == 2.0
    clock.now += 10
    assert timers.seconds_left() == 0.0


def test_call_may_set_its_own_again(timers, clock, rung):
    def again() -> None:
        rung.append(clock.now)
        timers.set("a", 1.0, again)

    timers.set("a", 1.0, again)
    for _ in range(3):
        clock.now += 1
        timers.ring()
    assert rung == [101.0, 102.0, 103.0]


def test_call_that_sets_itself_without_delay_does_not_ring_for_ever(timers, rung):
    def again() -> None:
        rung.append(1)
        timers.set("a", 0.0, again)

    timers.set("a", 0.0, again)
    timers.ring()
    assert rung == [1]


def test_call_may_cancel_one_that_is_due_as_well(timers, clock, rung):
    timers.set("a", 1.0, lambda: timers.cancel("b"))
    timers.set("b", 2.0, lambda: rung.append("b"))
    clock.now += 5
    timers.ring()
    assert rung == []


def test_call_may_put_off_one_that_is_due_as_well(timers, clock, rung):
    timers.set("a", 1.0, lambda: timers.set("b", 1.0, lambda: rung.append("b later")))
    timers.set("b", 2.0, lambda: rung.append("b"))
    clock.now += 5
    timers.ring()
    assert rung == []
    clock.now += 1
    timers.ring()
    assert rung == ["b later"]


def test_one_that_fails_keeps_the_others(timers, clock, rung):
    timers.set("a", 1.0, lambda: {}["nothing"])
    timers.set("b", 2.0, lambda: rung.append("b"))
    clock.now += 5
    with pytest.raises(KeyError):
        timers.ring()
    timers.ring()
    assert rung == ["b"]
