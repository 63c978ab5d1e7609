"""The client of the control socket. It imports nothing of supervisord: a command should not wait for that."""

import http.client
import json
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.log_records import Piece, Source


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
        request = xmlrpc.client.dumps(arguments, method).encode("ascii", "xmlcharrefreplace")
        try:
            (value,) = transport.single_request("localhost", "/RPC2", request)  # `request` would ask twice
        except xmlrpc.client.Fault as fault:
            raise ControlError(f"The supervisor refused: {fault.faultString}.") from fault
        except TimeoutError as error:
            raise ControlError(f"The supervisor at {self._path} did not answer in time.") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ControlError(f"No supervisor answers at {self._path}: {error}.") from error
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
