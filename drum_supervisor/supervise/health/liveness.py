"""The liveness check of a ready model server: repeated probes, of which a few may fail in a row."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.health.probe import Outcome, PollSet, Probe, has_head, is_own_response, read_status
from drum_supervisor.supervise.output.log import Log

TIMEOUT_SLICE = 0.5  # seconds; the timeout passes in slices of this length
SUSPENDED_AFTER = 0.5  # a timer that is so many seconds late shows that the supervisor was suspended
REAP_SECONDS = 0.5  # until a dying process, which has closed its connections, can be reaped


@dataclass(frozen=True)
class LivenessProbe:
    """The settings of the check; durations in seconds, `failures` in a row."""

    path: str
    interval: float
    timeout: float
    failures: int

    @property
    def request(self) -> str:
        """The request as messages show it, without the query, which may hold a secret."""
        return f"GET {self.path.partition('?')[0]}"


class Liveness:
    """Probes the address until it is closed, or the model server counts as unresponsive.

    A response of our own error server or stand-in, which may serve the same listener, proves nothing.

    Args:
        on_unresponsive: called once, with the reason in a sentence.
    """

    def __init__(
        self,
        poll_set: PollSet,
        timers: Timers,
        address: Address,
        liveness_probe: LivenessProbe,
        log: Log,
        on_unresponsive: Callable[[str], None],
    ) -> None:
        self._poll_set = poll_set
        self._timers = timers
        self._address = address
        self._settings = liveness_probe
        self._log = log
        self._on_unresponsive = on_unresponsive
        self._failures: list[str] = []
        self._probe: Probe | None = None
        self._schedule_probe()

    def close(self) -> None:
        self._timers.cancel(self)
        if self._probe is not None:
            self._probe.close()

    def _schedule_probe(self) -> None:
        self._timers.set(self, self._settings.interval, self._start_probe)

    def _start_probe(self) -> None:
        self._probe = Probe(self._poll_set, self._address, self._settings.path, has_head, self._on_end)
        self._wait(self._settings.timeout)

    def _wait(self, seconds: float) -> None:
        # Wait for the response, one slice at a time.
        # A slice that ends much too late does not count: the supervisor was stopped, or got no CPU, and cannot have
        # seen a response. So the server is never blamed for a suspended supervisor.
        slice_seconds = min(seconds, TIMEOUT_SLICE)
        due = self._timers.clock() + slice_seconds

        def on_slice_end() -> None:
            was_suspended = self._timers.clock() - due > SUSPENDED_AFTER
            left = seconds if was_suspended else seconds - slice_seconds
            if left > 0:
                self._wait(left)
            else:
                self._on_failure(f"did not answer {self._settings.request} within {self._settings.timeout:g} s")

        self._timers.set(self, slice_seconds, on_slice_end)

    def _on_end(self, outcome: Outcome) -> None:
        self._timers.cancel(self)
        failure = describe_failure(outcome, self._settings.request)
        if failure:  # the server may be dying, which is the better reason: its exit closes this check in time
            self._timers.set(self, REAP_SECONDS, lambda: self._on_failure(failure))
            return
        if self._failures and not is_own_response(outcome.response):
            self._log.information(f"the model server answers {self._settings.request} again")
            self._failures = []
        self._schedule_probe()

    def _on_failure(self, failure: str) -> None:
        self.close()
        self._failures.append(failure)
        self._log.warning(f"the model server {failure} ({len(self._failures)} of {self._settings.failures})")
        if len(self._failures) < self._settings.failures:
            self._schedule_probe()
        else:
            self._on_unresponsive(summarize_failures(self._failures))


def describe_failure(outcome: Outcome, request: str) -> str:
    """Return why a probe failed, or "" if it succeeded: with any status below 500."""
    if is_own_response(outcome.response):
        return ""
    if outcome.error == errno.ECONNREFUSED:
        return f"refused the connection for {request}"
    if outcome.error == errno.EAGAIN:  # of a unix socket; TCP keeps trying
        return f"had no room in its backlog for {request}"
    if outcome.error not in (0, errno.ECONNRESET):
        return f"could not be probed with {request} ({os.strerror(outcome.error)})"
    status = read_status(outcome.response)
    if status is None:
        return f"closed the connection without an answer to {request}"
    return f"answered {request} with status {status}" if status >= 500 else ""


def summarize_failures(failures: Sequence[str]) -> str:
    """Return `the model server did not answer GET /x within 5 s, 3 times in a row`."""
    kinds = " or ".join(dict.fromkeys(failures))
    return f"the model server {kinds}" + (f", {len(failures)} times in a row" if len(failures) > 1 else "")
