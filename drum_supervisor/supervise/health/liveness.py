"""Whether a model server that was ready goes on answering: it is asked again and again, and may fail a few times.

Nothing here waits; what is asked is a probe in the engine's loop.
"""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.health.probe import Outcome, Polled, Probe, has_head, is_ours, status_of
from drum_supervisor.supervise.output.log import Log

SLICE = 0.5  # seconds of patience that are spent at a time
SLEPT = 0.5  # a reminder that comes so much too late says that the supervisor did not run
MOMENT = 0.5  # until a process that closes its connections because it dies can be reaped


@dataclass(frozen=True)
class LivenessProbe:
    """What is asked, how often, and when it has failed; durations in seconds."""

    path: str
    interval: float
    timeout: float
    failures: int

    @property
    def question(self) -> str:
        """The question in words; a query may hold a secret."""
        return f"GET {self.path.partition('?')[0]}"


class Liveness:
    """Asks the address until it is closed, or has told that nobody answers.

    An answer of our own error server or stand-in, which may serve the same listener, is none of the model server's.

    Args:
        on_unresponsive: called once, with the reason in a sentence.
    """

    def __init__(
        self,
        polled: Polled,
        timers: Timers,
        address: Address,
        liveness_probe: LivenessProbe,
        log: Log,
        on_unresponsive: Callable[[str], None],
    ) -> None:
        self._polled = polled
        self._timers = timers
        self._address = address
        self._settings = liveness_probe
        self._log = log
        self._on_unresponsive = on_unresponsive
        self._failures: list[str] = []
        self._probe: Probe | None = None
        self._ask_later()

    def close(self) -> None:
        """Ask no more."""
        self._timers.cancel(self)
        self._drop_probe()

    def _ask_later(self) -> None:
        self._timers.set(self, self._settings.interval, self._ask)

    def _ask(self) -> None:
        self._probe = Probe(self._address, self._settings.path, has_head, self._on_end)
        self._polled.watch(self._probe)
        self._wait(self._settings.timeout)

    def _wait(self, left: float) -> None:
        """Give the server `left` seconds more, a slice at a time.

        A slice that ends much too late does not count: the supervisor was stopped, or got no processor, and cannot have
        seen an answer. So a server is never blamed for the sleep of the supervisor.
        """
        spent = min(left, SLICE)
        due = self._timers.clock() + spent

        def over() -> None:
            slept = self._timers.clock() - due > SLEPT
            rest = left if slept else left - spent
            if rest > 0:
                self._wait(rest)
            else:
                self._has_failed(f"did not answer {self._settings.question} within {self._settings.timeout:g} s")

        self._timers.set(self, spent, over)

    def _on_end(self, outcome: Outcome) -> None:
        self.close()
        wrong = complaint(outcome, self._settings.question)
        if wrong:  # it may be dying, and that is the better reason: then we are closed before the moment is over
            self._timers.set(self, MOMENT, lambda: self._has_failed(wrong))
            return
        if self._failures and not is_ours(outcome.received):
            self._log.information(f"the model server answers {self._settings.question} again")
            self._failures = []
        self._ask_later()

    def _has_failed(self, wrong: str) -> None:
        self._drop_probe()
        self._failures.append(wrong)
        self._log.warning(f"the model server {wrong} ({len(self._failures)} of {self._settings.failures})")
        if len(self._failures) < self._settings.failures:
            self._ask_later()
        else:
            self._on_unresponsive(sentence(self._failures))

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._polled.unwatch(self._probe)
            self._probe.close()
            self._probe = None


def complaint(outcome: Outcome, question: str) -> str:
    """Return what was wrong with an answer, empty when nothing was: any status below 500 is an answer."""
    if is_ours(outcome.received):
        return ""
    if outcome.error == errno.ECONNREFUSED:
        return f"refused the connection for {question}"
    if outcome.error == errno.EAGAIN:  # of a unix socket; TCP goes on trying
        return f"had no room in its backlog for {question}"
    if outcome.error not in (0, errno.ECONNRESET):
        return f"could not be asked {question} ({os.strerror(outcome.error)})"
    status = status_of(outcome.received)
    if status is None:
        return f"closed the connection without an answer to {question}"
    return f"answered {question} with status {status}" if status >= 500 else ""


def sentence(failures: Sequence[str]) -> str:
    """Return all failures in one sentence: `the model server did not answer GET /x within 5 s, 3 times in a row`."""
    wrong = " or ".join(dict.fromkeys(failures))
    return f"the model server {wrong}" + (f", {len(failures)} times in a row" if len(failures) > 1 else "")
