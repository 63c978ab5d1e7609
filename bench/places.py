"""Where the measured programs are, and the environment they are started in."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
BIN = Path(sys.executable).parent
NEEDED_FROM_DEBIAN = {"s6": "s6-svscan", "runit": "runsv", "tini": "tini", "wrk": "wrk"}


class NotHereError(Exception):
    """A candidate cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Place:
    """What the measurements share.

    Attributes:
        folder: for files; programs run in it, so that nothing is imported from a working copy.
        brief: whether to measure less, to see that it works.
    """

    folder: Path
    brief: bool = False

    def program(self, name: str) -> str:
        """Return the path of a program of this environment or of the system; a `NotHereError` if there is none."""
        own = BIN / name
        found = str(own) if own.exists() else shutil.which(name)
        if found is None:
            raise NotHereError(f"{name} is not installed")
        return found

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of measured programs: none of our variables, and none that affect Python's start."""
        ours = ("PYTHON", "DRUM_", "MLOPS_", "SUPERVISOR_", "LISTEN_", "NOTIFY_SOCKET")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}
