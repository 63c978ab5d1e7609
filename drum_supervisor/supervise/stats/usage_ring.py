"""The resource usage of the last ten minutes, in arrays of bounded size."""

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from drum_supervisor.contract.usage_series import UsageSeries

SECONDS = 600.0
MIN_STEP = 0.8  # seconds: one sample per second is kept in spite of jitter
CAPACITY = math.ceil(SECONDS / MIN_STEP)
MAX_POINTS = 60  # of a series in a failure report


class UsageRing:
    """Keeps points up to ten minutes older than the newest.

    The newest point is always kept: one that follows too soon reindexes the point before. When `capacity` is reached,
    of every two points the one with more memory stays, and from then on points are kept at half the rate.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._step = MIN_STEP
        self._times, self._rss, self._working_set, self._cpu = self._columns = (
            array("d"),
            array("d"),
            array("d"),
            array("d"),
        )

    def __len__(self) -> int:
        return len(self._times)

    def add(self, at: float, rss_bytes: int, working_set_bytes: int | None, cpu_percent: float) -> None:
        if len(self) > 1 and at - self._times[-2] < self._step:
            self._drop(slice(-1, None))
        while self._times and at - self._times[0] > SECONDS:
            self._drop(slice(1))
        if len(self) >= self._capacity:
            self._keep(pick_highest(self._rss, self._capacity // 2))
            self._step *= 2
        working_set = math.nan if working_set_bytes is None else working_set_bytes
        for column, value in zip(self._columns, (at, rss_bytes, working_set, cpu_percent), strict=True):
            column.append(value)

    def series_until(self, moment: float) -> UsageSeries | None:
        """Return at most MAX_POINTS points, with their age at `moment`; None without any."""
        kept = pick_highest(self._rss, MAX_POINTS)
        if not kept:
            return None
        return UsageSeries(
            seconds_before=tuple(round(max(moment - self._times[i], 0.0), 2) for i in kept),
            rss_bytes=tuple(int(self._rss[i]) for i in kept),
            working_set_bytes=tuple(_or_none(self._working_set[i]) for i in kept),
            cpu_percent=tuple(self._cpu[i] for i in kept),
        )

    def to_json(self, epoch: float) -> dict[str, Any]:
        """Return all points as parallel lists; adding `epoch` to the clock gives seconds since the epoch."""
        return {
            "times": [round(at + epoch, 3) for at in self._times],
            "rss_bytes": [int(value) for value in self._rss],
            "working_set_bytes": [_or_none(value) for value in self._working_set],
            "cpu_percent": list(self._cpu),
        }

    def _drop(self, indexes: slice) -> None:
        for column in self._columns:
            del column[indexes]

    def _keep(self, indexes: Sequence[int]) -> None:
        for column in self._columns:
            column[:] = array("d", (column[i] for i in indexes))


def pick_highest(values: Sequence[float], max_count: int) -> list[int]:
    """Return the indexes of at most `max_count` values: the highest of each of equal parts, and the last one."""
    count = len(values)
    if count <= max_count:
        return list(range(count))
    parts = max_count - 1
    bounds = [part * (count - 1) // parts for part in range(parts + 1)]
    peaks = [max(range(*part), key=values.__getitem__) for part in pairwise(bounds)]
    return [*peaks, count - 1]


def _or_none(value: float) -> int | None:
    return None if math.isnan(value) else int(value)
