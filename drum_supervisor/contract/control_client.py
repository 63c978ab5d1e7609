"""The client of the control socket. Standard library only: importing supervisord's would delay every command."""

import http.client
import json
import socket
import xmlrpc.client
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from xml.parsers.expat import ExpatError

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.json_records import from_json
from drum_supervisor.contract.log_records import LogRecord, LogSource
from drum_supervisor.contract.status import Status

T = TypeVar("T")


class ControlError(DrumSupervisorError):
    """The supervisor did not answer, or refused the request."""

    exit_code = 1


class ControlClient:
    """Talks to the supervisor at the control socket `path`; `timeout` is in seconds, for each call."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def status(self) -> Status:
        return self._call_json(partial(from_json, Status), "drum.status")

    def wait(self, serial: int, seconds: float) -> Status:
        """Return the status once it is newer than `serial`, or after `seconds` (at most a minute)."""
        return self._call_json(
            partial(from_json, Status), "drum.wait", serial, seconds, timeout=seconds + self._timeout
        )

    def stats(
        self, kind: type[T], max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False
    ) -> T:
        """Return the resource usage of all programs, sampled at most `max_age_seconds` ago.

        Args:
            kind: `resources.stats.FullStats`, which this package does not import.
            shared_memory: USS and PSS, except for processes too large for the supervisor to read.
            history: the last ten minutes; the supervisor then samples every second for a while.
        """
        return self._call_json(partial(from_json, kind), "drum.stats", max_age_seconds, shared_memory, history)

    def metrics(self, kind: type[T], max_age_seconds: float) -> T:
        """Return what the metrics are made of, a `resources.stats.MetricsReport`, at most `max_age_seconds` old."""
        return self._call_json(partial(from_json, kind), "drum.metrics", max_age_seconds)

    def logs(self, position: str, seconds: float) -> tuple[str, list[LogRecord]]:
        """Return the output since `position` and the next position; wait up to `seconds` for some."""
        return self._call_json(_read_output, "drum.logs", position, seconds, timeout=seconds + self._timeout)

    def restart(self, worker: int = 0, overlap: bool = False, force: bool = False) -> int:
        """Request a restart; return its number, which the status shows when it is done."""
        return int(self._call("drum.restart", worker, overlap, force))

    def stop(self) -> int:
        """Ask the supervisor to exit; return its pid."""
        return int(self._call("drum.stop"))

    def _call_json(self, read: Callable[[Any], T], method: str, *arguments: Any, timeout: float | None = None) -> T:
        try:
            return read(json.loads(str(self._call(method, *arguments, timeout=timeout))))
        except (LookupError, TypeError, ValueError) as error:
            raise ControlError(f"The supervisor at {self._path} sent an invalid answer: {error}.") from error

    def _call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        seconds = timeout or self._timeout
        transport = _Transport(self._path, seconds)
        request = xmlrpc.client.dumps(arguments, method).encode("ascii", "xmlcharrefreplace")
        try:
            (value,) = transport.single_request("localhost", "/RPC2", request)  # `request` would send it twice
        except xmlrpc.client.Fault as fault:
            raise ControlError(f"The supervisor refused: {fault.faultString}.") from fault
        except TimeoutError as error:
            raise ControlError(f"The supervisor did not answer within {seconds:g} s.") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise ControlError(f"No supervisor answers at {self._path}: {error or type(error).__name__}.") from error
        finally:
            transport.close()
        return value


def _read_output(answer: Any) -> tuple[str, list[LogRecord]]:
    records = [
        LogRecord(
            each["at"], LogSource(each["program"], each["stream"]), each["data"].encode("utf-8", "surrogateescape")
        )
        for each in answer["pieces"]
    ]
    return answer["next"], records


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over the control socket, with a time limit."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = UnixConnection(str(self._path), self._timeout)
        self._connection = host, connection  # what `close` closes
        return connection


class UnixConnection(http.client.HTTPConnection):
    """A connection to the socket `path`, made with the first request; `timeout` is in seconds."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
