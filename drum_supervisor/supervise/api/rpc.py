"""The XML-RPC namespace `drum` of the control socket; `contract.control_client` is the other end.

Values are sent as JSON text, because XML-RPC has neither null nor large numbers. Only the user of the supervisor can
open the socket, which has mode 0600 in a directory of mode 0700.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from supervisor.http import NOT_DONE_YET
from supervisor.xmlrpc import Faults, RPCError

from drum_supervisor.contract.json_records import to_json
from drum_supervisor.supervise.api.deferred import retry_soon
from drum_supervisor.supervise.api.stats import StatsReporter
from drum_supervisor.supervise.api.status import StatusReporter
from drum_supervisor.supervise.output.log_buffer import LogBuffer
from drum_supervisor.supervise.stats.sampler import Sampler

MAX_WAIT = 60.0  # seconds
MAX_OUTPUT = 32 * 1024  # bytes in one answer to `logs`, which is sent without a pause

T = TypeVar("T")


class DrumNamespace:
    """The methods of the namespace; supervisord publishes them with their docstrings, in its form."""

    def __init__(self, reporter: StatusReporter, sampler: Sampler, log_buffer: LogBuffer) -> None:
        self._reporter = reporter
        self._context = reporter.context
        self._sampler = sampler
        self._log_buffer = log_buffer
        self._stats_reporter = StatsReporter(reporter, sampler)

    def status(self) -> str:
        """Return the status of the service and of all programs

        @return string result  The status as JSON text
        """
        return to_json(self._reporter.status())

    def wait(self, serial: int, seconds: float) -> Any:
        """Wait until the status changes

        @param int serial      The serial of the last status that the caller has got
        @param double seconds  Maximum time to wait, at most 60
        @return string result  The status as JSON text
        """
        deadline = _deadline(seconds)

        def answer() -> object:
            if self._context.waiters.serial > serial or time.monotonic() >= deadline:
                return self.status()
            return NOT_DONE_YET

        return retry_soon(answer)

    def stats(self, max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False) -> Any:
        """Return the resource usage of all programs

        @param double max_age_seconds  Maximum age of the sample; 0 takes a new one
        @param boolean shared_memory   Include USS and PSS, which are expensive to read
        @param boolean history         Include the last ten minutes, and sample every second for a while
        @return string result          The resource usage as JSON text
        """
        shared_memory, history = bool(shared_memory), bool(history)
        sample = self._sampler.request_sample(max(float(max_age_seconds), 0.0), shared_memory, watching=history)
        return _answer_later(sample, lambda found: self._stats_reporter.stats(found, shared_memory, history))

    def metrics(self, max_age_seconds: float = 0.0) -> Any:
        """Return the status and the resource usage for metrics

        @param double max_age_seconds  Maximum age of the sample; 0 takes a new one
        @return string result          JSON text with service, as in the status, and stats
        """
        sample = self._sampler.request_sample(max(float(max_age_seconds), 0.0), False, watching=False)
        return _answer_later(sample, self._stats_reporter.metrics)

    def logs(self, position: str, seconds: float) -> Any:
        """Return the recent output of all programs from a position on

        @param string position  0, or next of the previous result
        @param double seconds   Maximum time to wait for output, at most 60
        @return string result   JSON text with next, and pieces with at, program, stream and data
        """
        deadline, offset = _deadline(seconds), int(position)

        def answer() -> object:
            waiters, records = self._context.waiters, self._log_buffer.read(offset, MAX_OUTPUT)
            waiters.output_ready_at = None
            if not records:  # answer as soon as there are some
                self._log_buffer.on_next = waiters.output_arrived
            if not records and time.monotonic() < deadline:
                return NOT_DONE_YET
            next_offset = records[-1].offset + 1 if records else offset
            pieces = [
                {
                    "at": each.offset,
                    "program": each.source.program,
                    "stream": each.source.stream,
                    "data": each.data.decode("utf-8", "surrogateescape"),  # invalid bytes keep their values (PEP 383)
                }
                for each in records
            ]
            return to_json({"next": str(next_offset), "pieces": pieces})

        return retry_soon(answer)

    def restart(self, worker: int, overlap: bool = False, force: bool = False) -> int:
        """Restart all workers, or one of them

        @param int worker       Number of the worker; 0 restarts all
        @param boolean overlap  Start each new worker before the old one stops
        @param boolean force    Overlap even if two workers may exceed the memory limit
        @return int result      The value of status.restarts.request once the restart is under way
        """
        service = self._context.service
        workers = service.limits.workers
        if not 0 <= worker <= workers:
            raise RPCError(Faults.BAD_NAME, f"there is no worker {worker}: there are {workers}")
        if service.is_stopping:
            raise RPCError(Faults.SHUTDOWN_STATE, "the supervisor is stopping")
        if overlap and service.is_serving and (refusal := self._context.overlap_refusal(bool(force))):
            raise RPCError(Faults.FAILED, refusal)
        self._context.request_restart(worker or None, bool(overlap))
        return service.state.requested_restarts + 1

    def stop(self) -> int:
        """Stop the supervisor gracefully

        @return int result  The pid of the supervisor
        """
        self._context.request_stop()
        return self._reporter.engine.pid


def _deadline(seconds: float) -> float:
    return time.monotonic() + min(max(float(seconds), 0.0), MAX_WAIT)


def _answer_later(sample: Callable[[], T | None], report: Callable[[T], object]) -> Any:
    def answer() -> object:
        found = sample()
        return NOT_DONE_YET if found is None else to_json(report(found))

    return retry_soon(answer)


def make_rpc_interface(supervisord: Any, **_: str) -> DrumNamespace:
    # Named in the rendered configuration, called by supervisord.
    namespace: DrumNamespace = supervisord.drum_namespace
    return namespace
