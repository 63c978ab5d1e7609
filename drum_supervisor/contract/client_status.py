"""Where the service stands, as far as clients are told while no model server answers.

`situation.json` in the run directory: written by the supervisor with each change, looked at by error server and
stand-in with each request. The stand-in loads this before its first answer, so that it is no dataclass: these take as
long to load as all else that it needs.
"""

import json
import os


class Situation:
    """One situation. Moments are seconds of the monotonic clock, which all processes of a machine share.

    Attributes:
        failed: initialization has failed, and no worker has been ready since.
        stage: the last one that the attempt under way has reached.
        since: when that attempt began, 0 when none is under way.
        attempt: how many there were since the service was last ready.
        attempts_left: retries that are still to come by themselves.
        next_at: when the next one comes, 0 when none is planned.
        refused: there would be retries, but this failure would only come again.
        held: no worker will come before an operator starts one: they have stopped those that there were.
    """

    def __init__(
        self,
        failed: bool = False,
        stage: str = "",
        since: float = 0.0,
        attempt: int = 1,
        attempts_left: int = 0,
        next_at: float = 0.0,
        refused: bool = False,
        held: bool = False,
    ) -> None:
        self.failed = failed
        self.stage = stage
        self.since = since
        self.attempt = attempt
        self.attempts_left = attempts_left
        self.next_at = next_at
        self.refused = refused
        self.held = held

    def to_text(self) -> str:
        return json.dumps(vars(self))


class SituationFile:
    """The situation in a file; it is read again when the file has changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._situation = Situation()

    def __call__(self) -> Situation:
        """Return the situation, the last good one while the file is missing or cannot be read."""
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._read:
                with open(self._path, encoding="utf-8") as file:
                    self._situation = Situation(**json.load(file))
                self._read = version
        except (OSError, ValueError, TypeError):
            return self._situation
        return self._situation


PROGRAM_HEADER = "X-Drum-Supervisor"
"""Names the program, error-server or stand-in, that answered in place of the model server."""
