"""Samples what the programs use, in the loop's own thread: some milliseconds a turn, and seldom while nobody looks."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from drum_supervisor.contract.usage_series import Curve
from drum_supervisor.resources.process_reader import ProcessReader
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.scan import Question, Scan, Top, survey
from drum_supervisor.supervise.stats.usage_log import Sample, UsageLog
from drum_supervisor.supervise.stats.usage_ring import UsageRing

TURN_SECONDS = 0.003  # of a turn of the loop; signals wait no longer
STEPS_AT_ONCE = 200  # some hundred processes: some milliseconds, once in a failure
OFTEN, SELDOM, MOST_SELDOM = 1.0, 10.0, 60.0
SHARE_OFTEN, SHARE_SELDOM = 0.05, 0.0005  # of a processor, that samples may take
WATCHED_SECONDS = 5.0
MOST_SHARED = 256 << 20  # the kernel walks through a process in one go: some 40 ms for each GiB


def next_sample(is_serving: bool, is_urgent: bool, cost: float) -> float:
    """Return how many seconds after one sample the next one is due; infinite when there is nothing to record.

    Args:
        is_serving: whether a process of the model server is there.
        is_urgent: whether it is starting, or somebody watches.
        cost: processor time that a sample takes.
    """
    if not is_serving:
        return math.inf
    if is_urgent:
        return max(OFTEN, cost / SHARE_OFTEN)
    return min(max(SELDOM, cost / SHARE_SELDOM), MOST_SELDOM)


@dataclass
class _Round:
    """A survey in progress."""

    begun: float
    question: Question
    steps: Generator[None, None, Scan]
    cost: float = 0.0


class Sampler:
    """Decides when to sample, and takes samples step by step.

    Args:
        pid: of the supervisor.
        targets: returns the programs that run.
        cpu_clock: the processor time of this process.
    """

    def __init__(
        self,
        context: Context,
        pid: int,
        targets: Callable[[], Sequence[Top]],
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._context = context
        self._timers = context.timers
        self._pid = pid
        self._targets = targets
        self._cpu_clock = cpu_clock
        self._reader = ProcessReader(context.timers.clock, most_shared=MOST_SHARED)
        self._records = UsageLog(context.service.limits.workers, pid)
        self._sample: Sample | None = None
        self._round: _Round | None = None
        self._begun, self._cost = -math.inf, 0.0  # of the last round
        self._wanted: Question | None = None
        self._has_new = False
        self._watched_until = -math.inf

    # --- what the rest of the supervisor calls

    def began(self) -> None:
        """A program was started: take its first sample at once."""
        self._has_new = True
        self._plan()

    def ask(self, max_age: float, shared_memory: bool, watching: bool) -> Callable[[], Sample | None]:
        """Ask for a sample that is no older than `max_age` seconds now.

        Args:
            watching: whether this is somebody who looks again and again, at the history too.

        Returns:
            What returns the sample, None while it is being taken; to be called until it is there, or never again.
        """
        now = self._timers.clock()
        if watching:
            self._watched_until = now + WATCHED_SECONDS
            self._plan()
        asked = Question(details=True, shared_memory=shared_memory)
        return lambda: self._young_enough(now - max_age, asked)

    def curve(self, name: str, pid: int) -> Curve | None:
        """Return what a run of a program used until now, or until it died; None when it was never seen."""
        for top in self._targets():
            if (top.name, top.pid) == (name, pid):
                self._look_at_once(top)
        return self._records.curve(name, pid, self._timers.clock())

    def ended(self, name: str, pid: int, cpu_seconds: float) -> None:
        """A run of a program has ended, and the kernel says how much processor time it has used."""
        self._records.ended(name, pid, cpu_seconds)

    def cpu_seconds(self, name: str) -> float:
        """Return the processor time of a program, all its runs together, as far as it is known; never falls."""
        return self._records.cpu_seconds(name)

    @property
    def history(self) -> UsageRing:
        """The last ten minutes of the model server, all workers together."""
        return self._records.history

    # --- when

    def _plan(self) -> None:
        """Set the time of the next sample; one that is being taken does so at its end."""
        if self._round is not None:
            return
        after = self._seconds_left()
        if math.isinf(after):
            self._timers.cancel(self)
        else:
            self._timers.set(self, after, self._turn)

    def _seconds_left(self) -> float:
        if self._has_new or self._wanted is not None:
            return 0.0
        is_serving = any(top.worker for top in self._targets())
        after = next_sample(is_serving, self._is_watched() or bool(self._context.service.state.starting), self._cost)
        return max(self._begun + after - self._timers.clock(), 0.0)

    def _is_watched(self) -> bool:
        return self._timers.clock() < self._watched_until

    def _young_enough(self, since: float, asked: Question) -> Sample | None:
        """Return the last sample if it will do; else see to it that one is taken."""
        sample, on_its_way = self._sample, self._round
        if sample is not None and sample.begun >= since and sample.question.answers(asked):
            return sample
        if on_its_way is None or on_its_way.begun < since or not on_its_way.question.answers(asked):
            self._wanted = asked.also(self._wanted)
            self._plan()
        return None

    # --- taking one

    def _turn(self) -> None:
        """Go on for some milliseconds; the loop comes back at once until the survey is complete."""
        round_ = self._round = self._round or self._begin()
        found = self._advance(round_)
        if found is None:
            self._timers.set(self, 0.0, self._turn)
            return
        self._round, self._cost = None, round_.cost
        self._keep(found)
        self._plan()

    def _begin(self) -> _Round:
        question = self._wanted or Question(details=self._is_watched())
        self._wanted, self._has_new, self._begun = None, False, self._timers.clock()
        return self._look(self._targets(), question)

    def _look(self, tops: Sequence[Top], question: Question) -> _Round:
        now = self._timers.clock()
        return _Round(now, question, survey(self._reader, tops, self._pid, now, question))

    def _advance(self, round_: _Round) -> Scan | None:
        """Take steps for a turn; return what was found once all is."""
        began, ends = self._cpu_clock(), self._timers.clock() + TURN_SECONDS
        try:
            next(round_.steps)
            while self._timers.clock() < ends:
                next(round_.steps)
        except StopIteration as end:
            found: Scan = end.value
            return found
        finally:
            round_.cost += self._cpu_clock() - began
        return None

    def _keep(self, found: Scan) -> None:
        """Keep what was found of the programs that still run: a tree that fell meanwhile is not all there."""
        here = set(self._targets())
        trees = {top: processes for top, processes in found.trees.items() if processes and top in here}
        self._records.add(trees, found.begun)
        self._reader.forget_others([self._pid, *(each.pid for processes in trees.values() for each in processes)])
        if found.question.details:
            self._sample = self._records.sample(found, trees)
            self._context.waiters.answer_soon()

    def _look_at_once(self, top: Top) -> None:
        """Take a sample of one program that has failed and still runs, unless its tree is large."""
        round_ = self._look([top], Question())
        try:
            for _ in range(STEPS_AT_ONCE):
                next(round_.steps)
        except StopIteration as end:
            if end.value.trees[top]:
                self._records.add_one(top, end.value.trees[top], round_.begun)
