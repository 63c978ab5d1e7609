"""What clients see of the service while no model server answers: `situation.json` in the run directory.

The supervisor writes it with each change. Error server and stand-in read it with each request.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

from drum_supervisor.contract.changed_file import ChangedFile

PROGRAM_HEADER = "X-Drum-Supervisor"
"""Names the program, error-server or stand-in, that answered in place of the model server."""


@dataclass(frozen=True)
class ClientStatus:
    """The state of the service as clients see it. Times are CLOCK_MONOTONIC seconds, shared by all local processes."""

    failed: bool = False  # the service has failed, and no worker has been ready since
    stage: str = ""  # the latest stage of the current attempt
    since: float = 0.0  # start of the current attempt; 0 without one
    attempt: int = 1  # attempts since the service was last ready
    attempts_left: int = 0  # automatic retries
    next_at: float = 0.0  # time of the next retry; 0 when none is planned
    refused: bool = False  # retries are left, but the failure is permanent
    held: bool = False  # an operator stopped the workers; only an operator starts new ones

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class ClientStatusFile(ChangedFile):
    _status = ClientStatus()

    def __call__(self) -> ClientStatus:
        """Return the status, or the last good one while the file is missing or invalid."""
        self.refresh()
        return self._status

    def _read(self) -> bool:
        with suppress(OSError, ValueError, TypeError), open(self._path, encoding="utf-8") as file:
            self._status = ClientStatus(**json.load(file))
            return True
        return False
