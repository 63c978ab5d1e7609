"""The last ten minutes of a tree of processes, in a few arrays whose size is bounded."""

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from drum_supervisor.contract.usage_series import Curve

SECONDS = 600.0
SHORTEST_STEP = 0.8  # a sample a second is kept, whatever its jitter
CAPACITY = math.ceil(SECONDS / SHORTEST_STEP)
MOST_POINTS = 60
"""Of a curve in a failure report."""


class UsageRing:
    """Takes points, and forgets those that are ten minutes older than the newest.

    The newest is always there: one that comes soon after the point before takes the place of it. When `capacity` is
    reached, of every two points the one with more memory stays, and points are kept at half the rate from then on.

    Args:
        capacity: how many points at most; with fewer than CAPACITY ten minutes are remembered in less detail.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._step = SHORTEST_STEP
        self._times, self._rss, self._working_set, self._cpu = self._columns = (
            array("d"),
            array("d"),
            array("d"),
            array("d"),
        )

    def __len__(self) -> int:
        return len(self._times)

    def add(self, at: float, rss_bytes: int, working_set_bytes: int | None, cpu_percent: float) -> None:
        """Add the newest point; `at` in seconds of a monotonic clock."""
        if len(self) > 1 and at - self._times[-2] < self._step:
            self._drop(slice(-1, None))
        while self._times and at - self._times[0] > SECONDS:
            self._drop(slice(1))
        if len(self) >= self._capacity:
            self._keep(highest(self._rss, self._capacity // 2))
            self._step *= 2
        known = math.nan if working_set_bytes is None else working_set_bytes
        for column, value in zip(self._columns, (at, rss_bytes, known, cpu_percent), strict=True):
            column.append(value)

    def until(self, moment: float) -> Curve | None:
        """Return the curve up to `moment`, at most MOST_POINTS of it; None when there is none."""
        kept = highest(self._rss, MOST_POINTS)
        if not kept:
            return None
        return Curve(
            seconds_before=tuple(round(max(moment - self._times[i], 0.0), 2) for i in kept),
            rss_bytes=tuple(int(self._rss[i]) for i in kept),
            working_set_bytes=tuple(_known(self._working_set[i]) for i in kept),
            cpu_percent=tuple(self._cpu[i] for i in kept),
        )

    def to_json(self, epoch: float) -> dict[str, Any]:
        """Return all points as parallel lists; `epoch` is what to add to the clock to get seconds since the epoch."""
        return {
            "times": [round(at + epoch, 3) for at in self._times],
            "rss_bytes": [int(value) for value in self._rss],
            "working_set_bytes": [_known(value) for value in self._working_set],
            "cpu_percent": list(self._cpu),
        }

    def _drop(self, places: slice) -> None:
        for column in self._columns:
            del column[places]

    def _keep(self, places: Sequence[int]) -> None:
        for column in self._columns:
            column[:] = array("d", (column[i] for i in places))


def highest(values: Sequence[float], most: int) -> list[int]:
    """Return the places of at most `most` values: the highest of each of as many equal parts, and the last one."""
    count = len(values)
    if count <= most:
        return list(range(count))
    parts = most - 1
    bounds = [part * (count - 1) // parts for part in range(parts + 1)]
    peaks = [max(range(*part), key=values.__getitem__) for part in pairwise(bounds)]
    return [*peaks, count - 1]


def _known(value: float) -> int | None:
    return None if math.isnan(value) else int(value)
