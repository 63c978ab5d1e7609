"""The control socket: our verbs as one more XML-RPC namespace of supervisord, `drum`, and the client for them.

Values travel as JSON text, because XML-RPC knows neither null nor large numbers. Only this user can open the
socket: it has mode 0600 in a directory of mode 0700.
"""

import http.client
import json
import socket
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from supervisor.http import NOT_DONE_YET
from supervisor.xmlrpc import Faults, RPCError, SupervisorTransport

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.supervise.transcript import Piece, Source

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
    return DrumNamespace(supervisord.controlled)


class ControlError(DrumSupervisorError):
    """The supervisor did not answer, or refused."""

    exit_code = 1


class Client:
    """Talks to one supervisor.

    Args:
        path: its control socket.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def status(self) -> dict[str, Any]:
        """Return the status."""
        return dict(json.loads(self._call("drum.status")))

    def wait(self, serial: int, seconds: float) -> dict[str, Any]:
        """Return the status when it is newer than `serial`, or after `seconds` (at most a minute)."""
        return dict(json.loads(self._call("drum.wait", serial, seconds, timeout=seconds + self._timeout)))

    def stats(self, max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False) -> dict[str, Any]:
        """Return what the programs use: a sample that is no older than `max_age_seconds`, a new one if need be.

        Args:
            shared_memory: with USS and PSS of processes that are not too large to be asked by the supervisor.
            history: with the last ten minutes; whoever asks for them counts as watching.
        """
        return dict(json.loads(self._call("drum.stats", max_age_seconds, shared_memory, history)))

    def logs(self, position: str, seconds: float) -> tuple[str, list[Piece]]:
        """Return what was written since `position`, and the next position; wait for it up to `seconds`."""
        answer = json.loads(self._call("drum.logs", position, seconds, timeout=seconds + self._timeout))
        pieces = [
            Piece(each["at"], Source(each["program"], each["stream"]), each["data"].encode("utf-8", "surrogateescape"))
            for each in answer["pieces"]
        ]
        return answer["next"], pieces

    def restart(self, worker: int = 0, overlap: bool = False, force: bool = False) -> int:
        """Ask for a restart; return the number of requested restarts that the status will show."""
        return int(self._call("drum.restart", worker, overlap, force))

    def stop(self) -> int:
        """Ask the supervisor to end; return its pid."""
        return int(self._call("drum.stop"))

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        transport = _Transport(self._path, timeout or self._timeout)
        request = xmlrpc.client.dumps(arguments, method)
        try:
            (value,) = transport.request("localhost", "/RPC2", request)
        except xmlrpc.client.Fault as fault:
            raise ControlError(f"The supervisor refused: {fault.faultString}.") from fault
        except TimeoutError as error:
            raise ControlError(f"The supervisor at {self._path} did not answer in time.") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ControlError(f"No supervisor answers at {self._path}: {error}.") from error
        finally:
            transport.close()
        return value


class _Transport(SupervisorTransport):  # type: ignore[misc]
    """supervisord's client transport, with a time limit."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__(serverurl=f"unix://{path}")
        self._get_connection = lambda: _connect(path, timeout)


def _connect(path: Path, timeout: float) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(timeout)
        connection.sock.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
