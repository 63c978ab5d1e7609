"""Why the supervisor ended: the last line on stderr, and the termination message of Kubernetes."""

import os
from contextlib import suppress
from pathlib import Path

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.supervise.policy.state import State

STOPPED_ON_REQUEST = "stopped on request"
MAX_MESSAGE_BYTES = 4096  # the kubelet keeps no more


def describe_termination(state: State) -> str:
    """Return in one line why the supervisor ends."""
    if state.exit_reason:
        return state.exit_reason
    if state.exit_code == ExitCode.STOPPED or state.report is None:
        return STOPPED_ON_REQUEST
    report = state.report
    where = f" in {report.stage}" if report.stage else ""
    what = {
        Cause.INIT_FAILED: f"initialization failed{where}",
        Cause.STARTUP_TIMEOUT: "the start-up deadline passed",
        Cause.KEPT_DYING: "the model server kept dying after it had been ready",
        Cause.DIED: "the model server is not restarted",
    }[report.cause]
    return " ".join(f"{what}: {report.error}".split())


class TerminationLog:
    """The file of the termination message: emptied at the start, written at the end."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = os.open(path, os.O_WRONLY | os.O_TRUNC)

    def write(self, message: str) -> None:
        """Write the message; a full disk is no error, because the supervisor ends anyway."""
        if self._fd is not None:
            with suppress(OSError):
                os.write(self._fd, truncate(message, MAX_MESSAGE_BYTES))
            os.close(self._fd)
            self._fd = None


def truncate(text: str, max_bytes: int) -> bytes:
    # cut between characters: the API server refuses the status of a pod that is not valid UTF-8
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore").encode("utf-8")
