"""Times of what a server does: from one named mark of a request to another."""

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class _Report:
    """The seconds from one mark to another, of all requests since the last reset."""

    start_mark: str
    end_mark: str
    count: int = 0
    total: float = 0.0
    shortest: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        self.shortest = min(self.shortest, seconds) if self.count else seconds
        self.longest = max(self.longest, seconds)
        self.total += seconds
        self.count += 1

    def reset(self) -> None:
        self.count, self.total, self.shortest, self.longest = 0, 0.0, 0.0, 0.0

    def as_dict(self) -> dict[str, float | None]:
        if not self.count:
            return {"min": None, "max": None, "avg": None, "total": None}
        return {"min": self.shortest, "max": self.longest, "avg": self.total / self.count, "total": self.total}


class Taken(NamedTuple):
    """What was measured since the last reset.

    Attributes:
        reports: `{min, max, avg, total}` in seconds, by name; all None where nothing was measured.
        failed: how many requests have failed.
    """

    reports: dict[str, dict[str, float | None]]
    failed: int


class _Round(NamedTuple):
    """The marks of one request so far, and the period in which they were made: `enable` begins a new one."""

    period: int
    marks: Mapping[str, float]


class StatsCollector:
    """Collects how long the steps of requests take. Safe under threads, asyncio and gevent; constant memory.

    A report is the time between two marks of the same request. Marks belong to the context in which they are made
    (`contextvars`), and to what is started from there: `asyncio.to_thread` or a task sees those of the request that
    started it, but not the other way round. Make both marks of a report on the same level.

    A process needs one; it is enabled from the beginning.

    Args:
        now: the clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._reports: dict[str, _Report] = {}
        self._starts: frozenset[str] = frozenset()
        self._enabled = True
        self._period = 0
        self._failed = 0
        # Values are never changed, only replaced: a context that inherits one must not write into another request's.
        self._round: ContextVar[_Round | None] = ContextVar("round", default=None)

    def register_report(self, name: str, start_mark: str, end_mark: str) -> None:
        """Measure from `start_mark` to `end_mark`, as `name`; registering it again begins anew."""
        with self._lock:
            self._reports[name] = _Report(start_mark, end_mark)
            self._starts = frozenset(report.start_mark for report in self._reports.values())

    def get_report_names(self) -> list[str]:
        """Return the names of the reports, in the order in which they were registered."""
        with self._lock:
            return list(self._reports)

    def enable(self) -> None:
        """Collect; marks from before are forgotten."""
        with self._lock:
            self._period += not self._enabled
            self._enabled = True

    def disable(self) -> None:
        """Ignore all marks; what was measured stays."""
        with self._lock:
            self._enabled = False

    def mark(self, name: str) -> None:
        """Note that the current request has come to the mark `name`; it may end reports and begin others."""
        if not self._enabled:
            return
        now, marks = self._now(), self._marks()
        with self._lock:
            for report in self._reports.values():
                if report.end_mark == name and report.start_mark in marks:
                    report.add(now - marks[report.start_mark])
        if name in self._starts:
            self._round.set(_Round(self._period, {**marks, name: now}))

    def mark_failed(self) -> None:
        """Count the current request as failed and forget its marks: no report that it has not ended contains it."""
        if not self._enabled:
            return
        self.round()
        with self._lock:
            self._failed += 1

    @property
    def failed(self) -> int:
        """How many requests have failed since the last reset."""
        with self._lock:
            return self._failed

    def round(self) -> None:
        """Begin a new round: marks that were made in this context no longer count, what is measured stays.

        For a server whose threads answer one request after the other: call it where a request begins. In `/stats/`,
        where DRUM calls it, it changes nothing.
        """
        self._round.set(None)

    def dict_report(self, name: str) -> dict[str, float | None]:
        """Return `{min, max, avg, total}` of the report `name` in seconds, all None when nothing was measured.

        Raises:
            KeyError: there is no such report.
        """
        with self._lock:
            return self._reports[name].as_dict()

    def stats_reset(self) -> None:
        """Forget what was measured; reports stay registered, and requests that are under way are measured still."""
        with self._lock:
            self._reset()

    def take(self) -> Taken:
        """Return all that was measured and reset it, in one step: no request is lost between the two."""
        with self._lock:
            taken = Taken({name: report.as_dict() for name, report in self._reports.items()}, self._failed)
            self._reset()
        return taken

    def _reset(self) -> None:
        self._failed = 0
        for report in self._reports.values():
            report.reset()

    def _marks(self) -> Mapping[str, float]:
        current = self._round.get()
        return current.marks if current is not None and current.period == self._period else {}
