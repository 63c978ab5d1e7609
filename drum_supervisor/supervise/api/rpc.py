"""The control socket: our verbs as one more XML-RPC namespace of supervisord, `drum`; `client` is the other end.

Values travel as JSON text, because XML-RPC knows neither null nor large numbers. Only this user can open the
socket: it has mode 0600 in a directory of mode 0700.
"""

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from supervisor.http import NOT_DONE_YET
from supervisor.xmlrpc import Faults, RPCError

from drum_supervisor.contract.log_records import Piece

LONGEST_WAIT = 60.0


class Controlled(Protocol):
    """What the namespace controls."""

    def status(self) -> dict[str, Any]: ...

    def serial(self) -> int: ...

    def output(self, position: int) -> list[Piece]: ...

    def restart_refused(self, overlap: bool, force: bool) -> str: ...

    def restart(self, worker: int | None, overlap: bool) -> None: ...

    def stop(self) -> None: ...

    def stats(self, max_age: float, shared_memory: bool, history: bool) -> Callable[[], dict[str, Any] | None]: ...

    def metrics(self, max_age: float) -> Callable[[], dict[str, Any] | None]: ...


class DrumNamespace:
    """The methods of the namespace; supervisord publishes those without an underscore."""

    def __init__(self, controlled: Controlled) -> None:
        self._controlled = controlled

    def status(self) -> str:
        """Return the state of everything

        @return string result  The status as JSON text
        """
        return json.dumps(self._controlled.status())

    def wait(self, serial: int, seconds: float) -> Callable[[], object]:
        """Wait until something has changed

        @param int serial      The serial of the status that the caller knows
        @param double seconds  How long to wait at most
        @return string result  The status as JSON text
        """
        deadline = time.monotonic() + min(max(float(seconds), 0.0), LONGEST_WAIT)

        def answer() -> object:
            if self._controlled.serial() > serial or time.monotonic() >= deadline:
                return self.status()
            return NOT_DONE_YET

        answer.delay = 0.005  # type: ignore[attr-defined]  # supervisord asks again on turns of its loop only
        return answer

    def stats(
        self, max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False
    ) -> Callable[[], object]:
        """Tell what the programs use

        @param double max_age_seconds  How old a sample may be; 0: take a new one
        @param boolean shared_memory   Whether to ask the kernel for memory that processes share, too
        @param boolean history         Whether to tell of the last ten minutes; samples are taken often then
        @return string result          The figures as JSON text
        """
        age = max(float(max_age_seconds), 0.0)
        return _once_there(self._controlled.stats(age, bool(shared_memory), bool(history)))

    def metrics(self, max_age_seconds: float = 0.0) -> Callable[[], object]:
        """Tell what metrics are made of

        @param double max_age_seconds  How old a sample may be; 0: take a new one
        @return string result          JSON text: service, of the status, and stats
        """
        return _once_there(self._controlled.metrics(max(float(max_age_seconds), 0.0)))

    def logs(self, position: str, seconds: float) -> Callable[[], object]:
        """Return what all programs have written, from a position on

        @param string position  0, or what the call before returned as next
        @param double seconds   How long to wait at most when there is nothing yet
        @return string result   JSON text: next, and pieces with at, program, stream and data
        """
        deadline = time.monotonic() + min(max(float(seconds), 0.0), LONGEST_WAIT)
        at = int(position)

        def answer() -> object:
            pieces = self._controlled.output(at)
            if not pieces and time.monotonic() < deadline:
                return NOT_DONE_YET
            return json.dumps({"next": str(pieces[-1].at + 1 if pieces else at), "pieces": [*map(_as_json, pieces)]})

        answer.delay = 0.005  # type: ignore[attr-defined]  # see `wait`
        return answer

    def restart(self, worker: int, overlap: bool = False, force: bool = False) -> int:
        """Replace the workers, or one of them

        @param int worker       Which worker; 0 for all
        @param boolean overlap  Start each new one before the old one stops
        @param boolean force    Overlap also where two copies may not fit into the memory limit
        @return int result   The number that status.restarts.request will have when this is under way
        """
        status = self._controlled.status()
        if not 0 <= worker <= status["workers"]:
            raise RPCError(Faults.BAD_NAME, f"there is no worker {worker}: there are {status['workers']}")
        if status["phase"] == "stopping":
            raise RPCError(Faults.SHUTDOWN_STATE, "the supervisor is stopping")
        if refusal := self._controlled.restart_refused(bool(overlap), bool(force)):
            raise RPCError(Faults.FAILED, refusal)
        self._controlled.restart(worker or None, bool(overlap))
        return int(status["restarts"]["request"]) + 1

    def stop(self) -> int:
        """End the supervisor gracefully

        @return int result  Its pid
        """
        self._controlled.stop()
        return int(self._controlled.status()["pid"])


def _once_there(found: Callable[[], dict[str, Any] | None]) -> Callable[[], object]:
    """Answer as soon as there is something to answer with."""

    def answer() -> object:
        value = found()
        return NOT_DONE_YET if value is None else json.dumps(value, allow_nan=False)

    answer.delay = 0.005  # type: ignore[attr-defined]  # supervisord asks again on turns of its loop only
    return answer


def _as_json(piece: Piece) -> dict[str, Any]:
    """Bytes that are no text keep their values, as halves of characters (PEP 383)."""
    return {
        "at": piece.at,
        "program": piece.source.program,
        "stream": piece.source.stream,
        "data": piece.data.decode("utf-8", "surrogateescape"),
    }


def make_rpc_interface(supervisord: Any, **_: str) -> DrumNamespace:
    """Make the namespace; named in the rendered configuration, called by supervisord."""
    return DrumNamespace(supervisord.handlers)
