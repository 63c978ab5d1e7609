"""The XML-RPC namespace `drum` of the control socket; `contract.control_client` is the other end.

Values are sent as JSON text, because XML-RPC has neither null nor large numbers. Only the user of the supervisor can
open the socket, which has mode 0600 in a directory of mode 0700.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from supervisor.http import NOT_DONE_YET
from supervisor.xmlrpc import Faults, RPCError

from drum_supervisor.contract.log_records import LogRecord

MAX_WAIT = 60.0  # seconds
RETRY_DELAY = 0.005  # seconds; supervisord retries on turns of its loop only


class RequestHandlers(Protocol):
    def status(self) -> dict[str, Any]: ...

    def serial(self) -> int: ...

    def output(self, offset: int) -> list[LogRecord]: ...

    def restart_refused(self, overlap: bool, force: bool) -> str: ...

    def restart(self, worker: int | None, overlap: bool) -> None: ...

    def stop(self) -> None: ...

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]: ...

    def metrics(self, max_age: float) -> Callable[[], dict[str, Any] | None]: ...


class DrumNamespace:
    """The methods of the namespace; supervisord publishes them with their docstrings, in its form."""

    def __init__(self, handlers: RequestHandlers) -> None:
        self._handlers = handlers

    def status(self) -> str:
        """Return the status of the service and of all programs

        @return string result  The status as JSON text
        """
        return json.dumps(self._handlers.status())

    def wait(self, serial: int, seconds: float) -> Callable[[], object]:
        """Wait until the status changes

        @param int serial      The serial of the last status that the caller has got
        @param double seconds  Maximum time to wait, at most 60
        @return string result  The status as JSON text
        """
        deadline = time.monotonic() + min(max(float(seconds), 0.0), MAX_WAIT)

        def answer() -> object:
            if self._handlers.serial() > serial or time.monotonic() >= deadline:
                return self.status()
            return NOT_DONE_YET

        answer.delay = RETRY_DELAY  # type: ignore[attr-defined]
        return answer

    def stats(
        self, max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False
    ) -> Callable[[], object]:
        """Return the resource usage of all programs

        @param double max_age_seconds  Maximum age of the sample; 0 takes a new one
        @param boolean shared_memory   Include USS and PSS, which are expensive to read
        @param boolean history         Include the last ten minutes, and sample every second for a while
        @return string result          The resource usage as JSON text
        """
        age = max(float(max_age_seconds), 0.0)
        return _answer_later(self._handlers.stats(age, bool(shared_memory), bool(history)))

    def metrics(self, max_age_seconds: float = 0.0) -> Callable[[], object]:
        """Return the status and the resource usage for metrics

        @param double max_age_seconds  Maximum age of the sample; 0 takes a new one
        @return string result          JSON text with service, as in the status, and stats
        """
        return _answer_later(self._handlers.metrics(max(float(max_age_seconds), 0.0)))

    def logs(self, position: str, seconds: float) -> Callable[[], object]:
        """Return the recent output of all programs from a position on

        @param string position  0, or next of the previous result
        @param double seconds   Maximum time to wait for output, at most 60
        @return string result   JSON text with next, and pieces with at, program, stream and data
        """
        deadline = time.monotonic() + min(max(float(seconds), 0.0), MAX_WAIT)
        offset = int(position)

        def answer() -> object:
            records = self._handlers.output(offset)
            if not records and time.monotonic() < deadline:
                return NOT_DONE_YET
            next_offset = records[-1].offset + 1 if records else offset
            return json.dumps({"next": str(next_offset), "pieces": [*map(_record_to_json, records)]})

        answer.delay = RETRY_DELAY  # type: ignore[attr-defined]
        return answer

    def restart(self, worker: int, overlap: bool = False, force: bool = False) -> int:
        """Restart all workers, or one of them

        @param int worker       Number of the worker; 0 restarts all
        @param boolean overlap  Start each new worker before the old one stops
        @param boolean force    Overlap even if two workers may exceed the memory limit
        @return int result      The value of status.restarts.request once the restart is under way
        """
        status = self._handlers.status()
        if not 0 <= worker <= status["workers"]:
            raise RPCError(Faults.BAD_NAME, f"there is no worker {worker}: there are {status['workers']}")
        if status["phase"] == "stopping":
            raise RPCError(Faults.SHUTDOWN_STATE, "the supervisor is stopping")
        if refusal := self._handlers.restart_refused(bool(overlap), bool(force)):
            raise RPCError(Faults.FAILED, refusal)
        self._handlers.restart(worker or None, bool(overlap))
        return int(status["restarts"]["request"]) + 1

    def stop(self) -> int:
        """Stop the supervisor gracefully

        @return int result  The pid of the supervisor
        """
        self._handlers.stop()
        return int(self._handlers.status()["pid"])


def _answer_later(find: Callable[[], dict[str, Any] | None]) -> Callable[[], object]:
    def answer() -> object:
        value = find()
        return NOT_DONE_YET if value is None else json.dumps(value, allow_nan=False)

    answer.delay = RETRY_DELAY  # type: ignore[attr-defined]
    return answer


def _record_to_json(record: LogRecord) -> dict[str, Any]:
    return {
        "at": record.offset,
        "program": record.source.program,
        "stream": record.source.stream,
        "data": record.data.decode("utf-8", "surrogateescape"),  # invalid bytes keep their values (PEP 383)
    }


def make_rpc_interface(supervisord: Any, **_: str) -> DrumNamespace:
    # Named in the rendered configuration, called by supervisord.
    return DrumNamespace(supervisord.handlers)
