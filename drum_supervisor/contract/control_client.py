"""The client of the control socket. Standard library only: importing supervisord's would delay every command."""

import http.client
import json
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.log_records import LogRecord, LogSource


class ControlError(DrumSupervisorError):
    """The supervisor did not answer, or refused the request."""

    exit_code = 1


class ControlClient:
    """Talks to the supervisor at the control socket `path`; `timeout` is in seconds, for each call."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self._path = path
        self._timeout = timeout

    def status(self) -> dict[str, Any]:
        return self._call_json("drum.status")

    def wait(self, serial: int, seconds: float) -> dict[str, Any]:
        """Return the status once it is newer than `serial`, or after `seconds` (at most a minute)."""
        return self._call_json("drum.wait", serial, seconds, timeout=seconds + self._timeout)

    def stats(self, max_age_seconds: float = 0.0, shared_memory: bool = False, history: bool = False) -> dict[str, Any]:
        """Return the resource usage of all programs, sampled at most `max_age_seconds` ago."""
        # `shared_memory`: USS and PSS, except for processes too large for the supervisor to read.
        # `history`: the last ten minutes; the supervisor then samples every second for a while.
        return self._call_json("drum.stats", max_age_seconds, shared_memory, history)

    def metrics(self, max_age_seconds: float) -> dict[str, Any]:
        """Return what the metrics are made of, sampled at most `max_age_seconds` ago."""
        return self._call_json("drum.metrics", max_age_seconds)

    def logs(self, position: str, seconds: float) -> tuple[str, list[LogRecord]]:
        """Return the output since `position` and the next position; wait up to `seconds` for some."""
        answer = self._call_json("drum.logs", position, seconds, timeout=seconds + self._timeout)
        pieces = [
            LogRecord(
                each["at"], LogSource(each["program"], each["stream"]), each["data"].encode("utf-8", "surrogateescape")
            )
            for each in answer["pieces"]
        ]
        return answer["next"], pieces

    def restart(self, worker: int = 0, overlap: bool = False, force: bool = False) -> int:
        """Request a restart; return its number, which the status shows when it is done."""
        return int(self._call("drum.restart", worker, overlap, force))

    def stop(self) -> int:
        """Ask the supervisor to exit; return its pid."""
        return int(self._call("drum.stop"))

    def _call_json(self, method: str, *arguments: Any, timeout: float | None = None) -> dict[str, Any]:
        try:
            return dict(json.loads(str(self._call(method, *arguments, timeout=timeout))))
        except ValueError as error:
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


class _Transport(xmlrpc.client.Transport):
    """XML-RPC over the control socket, with a time limit."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=self._timeout)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection = host, connection  # what `close` closes
        connection.sock.settimeout(self._timeout)
        connection.sock.connect(str(self._path))
        return connection
