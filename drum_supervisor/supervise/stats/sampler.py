"""Samples the resource usage in the loop's own thread: a few milliseconds per turn, seldom while no client watches."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.resources.process_reader import ProcessReader
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.scan import Detail, Scan, ScanTarget, scan
from drum_supervisor.supervise.stats.usage_log import Sample, UsageLog

TURN_SECONDS = 0.003  # of a turn of the loop; signals wait no longer
MAX_STEPS_AT_ONCE = 200  # some hundred processes: a few milliseconds, once per failure
FAST_INTERVAL, SLOW_INTERVAL, MAX_SLOW_INTERVAL = 1.0, 10.0, 60.0  # seconds
FAST_CPU_SHARE, SLOW_CPU_SHARE = 0.05, 0.0005  # of one CPU, which samples may take
WATCHED_SECONDS = 5.0
MAX_SHARED_BYTES = 256 << 20  # the kernel walks the memory of a process without a pause: some 40 ms per GiB


def sample_interval(is_serving: bool, is_urgent: bool, cost: float) -> float:
    """Return the seconds between samples, each of which takes `cost` seconds of CPU time.

    Infinite while no worker runs; short when it is urgent: a worker is starting, or a client watches.
    """
    if not is_serving:
        return math.inf
    if is_urgent:
        return max(FAST_INTERVAL, cost / FAST_CPU_SHARE)
    return min(max(SLOW_INTERVAL, cost / SLOW_CPU_SHARE), MAX_SLOW_INTERVAL)


@dataclass
class _RunningScan:
    started: float
    detail: Detail
    steps: Generator[None, None, Scan]
    cost: float = 0.0


class Sampler:
    """Decides when to sample, and scans step by step.

    Args:
        pid: of the supervisor.
        targets: returns the running programs.
    """

    def __init__(
        self,
        context: Context,
        pid: int,
        targets: Callable[[], Sequence[ScanTarget]],
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._context = context
        self._timers = context.timers
        self._pid = pid
        self._targets = targets
        self._cpu_clock = cpu_clock
        self._reader = ProcessReader(context.timers.clock, max_shared_bytes=MAX_SHARED_BYTES)
        self._log = UsageLog(context.service.limits.workers, pid)
        self._sample: Sample | None = None
        self._scan: _RunningScan | None = None
        self._last_started, self._last_cost = -math.inf, 0.0
        self._requested: Detail | None = None
        self._is_due = False
        self._watched_until = -math.inf

    # --- what the rest of the supervisor calls

    def sample_soon(self) -> None:
        """Take a sample on the next turn: a program was started."""
        self._is_due = True
        self._schedule()

    def request_sample(self, max_age: float, shared_memory: bool, watching: bool) -> Callable[[], Sample | None]:
        """Request a sample that is at most `max_age` seconds old now.

        Args:
            watching: the client asks again and again, and shows the history too.

        Returns:
            A function to be called until it returns the sample; None: not taken yet.
        """
        now = self._timers.clock()
        if watching:
            self._watched_until = now + WATCHED_SECONDS
            self._schedule()
        detail = Detail(full=True, shared_memory=shared_memory)
        return lambda: self._find_sample(now - max_age, detail)

    def usage_series(self, name: str, pid: int) -> UsageSeries | None:
        """Return the usage of a run until now, or until its exit; None if it was never sampled."""
        for target in self._targets():
            if (target.name, target.pid) == (name, pid):
                self._scan_at_once(target)
        return self._log.usage_series(name, pid, self._timers.clock())

    def record_exit(self, name: str, pid: int, cpu_seconds: float) -> None:
        self._log.record_exit(name, pid, cpu_seconds)

    def cpu_seconds(self, name: str) -> float:
        return self._log.cpu_seconds(name)

    def history(self, epoch: float) -> dict[str, Any]:
        """Return the last ten minutes of all workers together; `epoch` is the time of the clock's zero."""
        return self._log.history.to_json(epoch)

    # --- when

    def _schedule(self) -> None:
        if self._scan is not None:  # it schedules the next one at its end
            return
        after = self._seconds_left()
        if math.isinf(after):
            self._timers.cancel(self)
        else:
            self._timers.set(self, after, self._continue)

    def _seconds_left(self) -> float:
        if self._is_due or self._requested is not None:
            return 0.0
        is_serving = any(target.worker for target in self._targets())
        is_urgent = self._is_watched() or bool(self._context.service.state.starting)
        after = sample_interval(is_serving, is_urgent, self._last_cost)
        return max(self._last_started + after - self._timers.clock(), 0.0)

    def _is_watched(self) -> bool:
        return self._timers.clock() < self._watched_until

    def _find_sample(self, since: float, detail: Detail) -> Sample | None:
        sample, running = self._sample, self._scan
        if sample is not None and sample.started >= since and sample.detail.covers(detail):
            return sample
        if running is None or running.started < since or not running.detail.covers(detail):
            self._requested = detail.merge(self._requested)
            self._schedule()
        return None

    # --- taking a sample

    def _continue(self) -> None:
        # For some milliseconds; the loop comes back at once until the scan is complete.
        running = self._scan = self._scan or self._start()
        found = self._advance(running)
        if found is None:
            self._timers.set(self, 0.0, self._continue)
            return
        self._scan, self._last_cost = None, running.cost
        self._record(found)
        self._schedule()

    def _start(self) -> _RunningScan:
        detail = self._requested or Detail(full=self._is_watched())
        self._requested, self._is_due, self._last_started = None, False, self._timers.clock()
        return self._start_scan(self._targets(), detail)

    def _start_scan(self, targets: Sequence[ScanTarget], detail: Detail) -> _RunningScan:
        now = self._timers.clock()
        return _RunningScan(now, detail, scan(self._reader.read, targets, self._pid, now, detail))

    def _advance(self, running: _RunningScan) -> Scan | None:
        cpu_before, deadline = self._cpu_clock(), self._timers.clock() + TURN_SECONDS
        try:
            next(running.steps)
            while self._timers.clock() < deadline:
                next(running.steps)
        except StopIteration as end:
            found: Scan = end.value
            return found
        finally:
            running.cost += self._cpu_clock() - cpu_before
        return None

    def _record(self, found: Scan) -> None:
        # Only programs that still run: the tree of one that exited during the scan is incomplete.
        current = set(self._targets())
        trees = {target: tree for target, tree in found.trees.items() if tree and target in current}
        self._log.record_all(trees, found.started)
        self._reader.forget_all_but([self._pid, *(process.pid for tree in trees.values() for process in tree)])
        if found.detail.full:
            self._sample = self._log.make_sample(found, trees)
            self._context.waiters.answer_soon()

    def _scan_at_once(self, target: ScanTarget) -> None:
        # For a program that has failed and still runs; without effect if its tree is large.
        running = self._start_scan([target], Detail())
        try:
            for _ in range(MAX_STEPS_AT_ONCE):
                next(running.steps)
        except StopIteration as end:
            if end.value.trees[target]:
                self._log.record(target, end.value.trees[target], running.started)
