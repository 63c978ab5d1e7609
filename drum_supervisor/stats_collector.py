"""Durations within requests, from one named mark to another."""

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class _Report:
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
    """The measurements since the last reset."""

    reports: dict[str, dict[str, float | None]]  # {min, max, avg, total} in seconds, by name; None without measurements
    failed: int  # requests


class _Round(NamedTuple):
    """The marks of one request."""

    period: int  # `enable` starts a new one, and so discards older marks
    marks: Mapping[str, float]


class StatsCollector:
    """Measures the steps of requests. Safe with threads, asyncio and gevent; constant memory; initially enabled.

    A report is the time between two marks of the same request. A mark belongs to its context (`contextvars`), and to
    everything started from there: a task, or `asyncio.to_thread`, sees the marks of the request which started it, but
    not vice versa. Set both marks of a report on the same level.

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
        # Values are replaced, never modified: contexts which inherit one share it.
        self._round: ContextVar[_Round | None] = ContextVar("round", default=None)

    def register_report(self, name: str, start_mark: str, end_mark: str) -> None:
        """Measure from `start_mark` to `end_mark`, as `name`; registering it again resets it."""
        with self._lock:
            self._reports[name] = _Report(start_mark, end_mark)
            self._starts = frozenset(report.start_mark for report in self._reports.values())

    def get_report_names(self) -> list[str]:
        """Return the names of the reports in the order of registration."""
        with self._lock:
            return list(self._reports)

    def enable(self) -> None:
        """Collect again, without the marks set before `disable`."""
        with self._lock:
            self._period += not self._enabled
            self._enabled = True

    def disable(self) -> None:
        """Ignore all marks; measurements are kept."""
        with self._lock:
            self._enabled = False

    def mark(self, name: str) -> None:
        """Set the mark `name` in the current request, which may end some reports and start others."""
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
        """Count the current request as failed, and forget its marks: its unfinished reports do not count."""
        if not self._enabled:
            return
        self.round()
        with self._lock:
            self._failed += 1

    @property
    def failed(self) -> int:
        """The number of failed requests since the last reset."""
        with self._lock:
            return self._failed

    def round(self) -> None:
        """Forget the marks of this context; measurements are kept.

        For a server whose threads serve request after request: call it at the start of each request. DRUM calls it in
        `/stats/`, where it has no effect.
        """
        self._round.set(None)

    def dict_report(self, name: str) -> dict[str, float | None]:
        """Return `{min, max, avg, total}` of the report `name` in seconds, all None without measurements.

        Raises:
            KeyError: unknown report.
        """
        with self._lock:
            return self._reports[name].as_dict()

    def stats_reset(self) -> None:
        """Forget the measurements; reports stay registered, and current requests keep their marks."""
        with self._lock:
            self._reset()

    def take(self) -> Taken:
        """Return the measurements and reset them in one step, without losing a request in between."""
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
