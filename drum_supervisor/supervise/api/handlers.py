"""The handlers of requests over the control socket."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drum_supervisor.contract.log_records import LogRecord
from drum_supervisor.supervise.api.stats import StatsReporter
from drum_supervisor.supervise.api.status import Location, status
from drum_supervisor.supervise.output.log_buffer import LogBuffer

MAX_OUTPUT = 32 * 1024  # bytes in one answer to `logs`, which is sent without a pause


@dataclass
class ControlHandlers:
    reporter: StatsReporter
    location: Location
    log_buffer: LogBuffer

    def status(self) -> dict[str, Any]:
        return status(self.reporter.context, self.reporter.engine, self.location)

    def serial(self) -> int:
        return self.reporter.context.waiters.serial

    def output(self, offset: int) -> list[LogRecord]:
        """Return the output from `offset` on; without any, have the client answered as soon as there is some."""
        waiters, records = self.reporter.context.waiters, self.log_buffer.read(offset, MAX_OUTPUT)
        waiters.output_ready_at = None
        if not records:
            self.log_buffer.on_next = waiters.output_arrived
        return records

    def restart_refused(self, overlap: bool, force: bool) -> str:
        """Return why such a restart is refused, or ""."""
        context = self.reporter.context
        if not overlap or not context.service.is_serving:
            return ""
        return context.overlap_refusal(force)

    def restart(self, worker: int | None, overlap: bool) -> None:
        self.reporter.context.request_restart(worker, overlap)

    def stop(self) -> None:
        self.reporter.context.request_stop()

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]:
        sample = self.reporter.sampler.request_sample(max_age, shared_memory, watching=history)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else self.reporter.stats(found, shared_memory, history)

        return answer

    def metrics(self, max_age: float) -> Callable[[], dict[str, Any] | None]:
        sample = self.reporter.sampler.request_sample(max_age, shared_memory=False, watching=False)

        def answer() -> dict[str, Any] | None:
            found = sample()
            return None if found is None else self.reporter.metrics(found)

        return answer
