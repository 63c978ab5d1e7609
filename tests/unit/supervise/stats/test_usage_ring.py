"""The usage of the last ten minutes: bounded, with the newest and the highest points."""

import json
import random
import sys

import pytest

from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.supervise.stats.usage_ring import CAPACITY, MAX_POINTS, SECONDS, UsageRing, pick_highest


def filled(points, capacity=CAPACITY):
    ring = UsageRing(capacity)
    for at, rss in points:
        ring.add(at, rss, None, 0.0)
    return ring


def times(ring):
    return ring.to_json(0.0)["times"]


def test_keeps_every_sample_of_ten_minutes():
    ring = filled((at, at) for at in range(1000))
    assert times(ring) == list(range(399, 1000))


def test_keeps_slow_samples_of_ten_minutes():
    assert len(filled((10 * at, at) for at in range(1000))) == 61


def test_timer_jitter_loses_no_sample():
    moments = [second + random.Random(second).uniform(-0.05, 0.05) for second in range(300)]
    assert times(filled((at, 1) for at in moments)) == pytest.approx(moments, abs=0.001)


def test_rapid_samples_replace_the_newest_only():
    ring = filled([*((at, 1) for at in range(100)), *((99 + at / 1000, at) for at in range(1, 10_000))])
    assert times(ring)[:99] == list(range(99))
    assert ring.to_json(0.0)["rss_bytes"][-1] == 9_999
    assert len(ring) < 115


def test_old_points_stay_until_newer_ones_come():
    ring = filled((at, 1) for at in range(10))
    assert len(ring) == 10
    ring.add(10_000, 2, None, 0.0)
    assert times(ring) == [10_000]


@pytest.mark.parametrize("capacity", [60, 187, CAPACITY])
@pytest.mark.parametrize("every", [0.01, 1, 3, 10, 60])
def test_capacity_is_never_exceeded(capacity, every):
    ring = filled(((at * every, at) for at in range(20_000)), capacity)
    assert len(ring) <= capacity
    covered = times(ring)[-1] - times(ring)[0]
    assert min(19_999 * every, SECONDS) * 0.9 <= covered <= SECONDS


def test_memory_is_a_few_kilobytes():
    ring = filled((at, at) for at in range(24 * 3600))
    assert sum(sys.getsizeof(column) for column in ring._columns) < 30_000


def test_peaks_survive_dropping():
    ring = filled(((at, 10_000 if at == 7 else at) for at in range(60)), capacity=20)
    assert max(ring.to_json(0.0)["rss_bytes"]) == 10_000
    assert len(ring) <= 20


class TestSeries:
    def test_without_points_is_none(self):
        assert UsageRing().series_until(5.0) is None

    def test_has_ages_at_the_end(self):
        ring = UsageRing()
        ring.add(100.0, 1 << 40, 5, 12.5)
        ring.add(101.0, 2, None, 0.0)
        assert ring.series_until(101.2567) == UsageSeries((1.26, 0.26), (1 << 40, 2), (5, None), (12.5, 0.0))

    def test_has_no_negative_ages(self):
        assert filled([(10.0, 1)]).series_until(9.9).seconds_before == (0.0,)

    def test_has_the_peak_and_the_last_point(self):
        series = filled((at, 9_999_999 if at == 333 else 1_000_000 + at) for at in range(600)).series_until(600.0)
        assert len(series.rss_bytes) == MAX_POINTS
        assert series.seconds_before[0] > 580
        assert series.seconds_before[-1] == 1.0
        assert max(series.rss_bytes) == 9_999_999
        assert list(series.seconds_before) == sorted(series.seconds_before, reverse=True)

    def test_is_small(self):
        ring = UsageRing()
        for at in range(600):
            ring.add(at + 0.123, 10**11 + at, 10**11, 6400.5)
        assert len(json.dumps(vars(ring.series_until(600)))) < 4096


@pytest.mark.parametrize(
    ("values", "max_count", "indexes"),
    [
        ([], 3, []),
        ([5], 3, [0]),
        ([5, 6, 7], 3, [0, 1, 2]),
        ([1, 9, 2, 3, 8], 3, [1, 3, 4]),
        ([9, 1, 1, 1, 1, 1, 1], 3, [0, 3, 6]),
        (range(100), 2, [98, 99]),
    ],
)
def test_pick_highest_of_each_part_and_the_last(values, max_count, indexes):
    assert pick_highest(values, max_count) == indexes


def test_epoch_shifts_all_points():
    ring = filled([(1.0, 1), (2.0, 1)])
    assert ring.to_json(1000.0)["times"] == [1001.0, 1002.0]
    assert ring.to_json(5.0)["times"] == [6.0, 7.0]
