"""What the address is heard to answer, for those who do not speak for themselves: ready, failed, or nothing any more.

Nobody can tell which of several workers has answered.
"""

from collections.abc import Callable, Set

from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.failures import report as failures
from drum_supervisor.supervise.health.readiness import Watcher
from drum_supervisor.supervise.lifecycle.process_events import ProcessEvents
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.events import Event
from drum_supervisor.supervise.programs.program import Programs, Readiness


class HealthChecks:
    """Looks out for readiness while workers start, and asks whether they still answer while they serve.

    Args:
        witness: takes what holds for single workers.
        watch: starts to look out for readiness, given what to do when it is there, about a stage, and about a
            failure; returns None where programs report it.
        check: starts to ask whether who is ready still answers, given what to do when nobody does; returns None where
            nobody wants to know.
        ready: returns the workers that the policy takes for ready.
    """

    def __init__(
        self,
        programs: Programs,
        witness: ProcessEvents,
        watch: Callable[[Callable[[], None], Callable[[str], None], Callable[[str], None]], Watcher | None],
        check: Callable[[Callable[[str], None]], Watcher | None],
        ready: Callable[[], Set[int]],
        timers: Timers,
        log: Log,
        post: Callable[[Event], None],
    ) -> None:
        self._programs = programs
        self._witness = witness
        self._watch = watch
        self._watcher: Watcher | None = None
        self._check = check
        self._checker: Watcher | None = None
        self._ready = ready
        self._timers = timers
        self._log = log
        self._post = post

    def look_out(self) -> None:
        """Look out for readiness, until somebody is ready or nobody is coming."""
        self._watcher = self._watcher or self._watch(self._answered, self._stage_told, self._failure_told)

    def look_no_more(self) -> None:
        """Look out for readiness no more."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def check_liveness(self, is_serving: bool) -> None:
        """Ask from the beginning, and only while somebody is ready."""
        if self._checker is not None:
            self._checker.close()
        self._checker = self._check(self._unresponsive) if is_serving else None

    def _answered(self) -> None:
        """The address answers as a server does that is ready: a first good answer may be put to the proof."""
        if self._programs.readiness is Readiness.HTTP and self._witness.is_any_on_trial():
            return
        self.look_no_more()
        for seen in self._witness.workers():
            if seen.run.status is None:
                self._witness.note_ready(seen)

    def _stage_told(self, stage: str) -> None:
        for seen in self._witness.workers():
            if seen.run.program is self._programs.workers[0]:
                self._witness.note_stage(seen, stage)

    def _failure_told(self, message: str) -> None:
        """The address answers that initialization failed."""
        self.look_no_more()
        for seen in [seen for seen in self._witness.workers() if seen.is_coming]:
            self._witness.note_failed(seen, failures.answered(self._witness.evidence(seen), message))

    def _unresponsive(self, sentence: str) -> None:
        """Nobody answers; the report is about the first that should."""
        ready = self._ready()
        seen = next(seen for seen in self._witness.workers() if seen.run.program.worker in ready)
        self._log.warning(f"{sentence}: that counts as a crash", pid=seen.run.pid)
        report = failures.unresponsive(self._witness.evidence(seen), sentence)
        self._post(events.LivenessFailed(self._timers.clock(), report))
