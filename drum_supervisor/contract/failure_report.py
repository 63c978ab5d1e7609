"""The failure report: why the model server does not serve; `failure.json` in the run directory."""

import json
import os
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from signal import SIGKILL
from typing import Annotated, Any

from drum_supervisor.contract.exits import ExitCode, signal_exit_code
from drum_supervisor.contract.json_records import from_json, to_json
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.contract.usage_series import UsageSeries


class Cause(str, Enum):
    """The kind of failure, which decides the exit code."""

    INIT_FAILED = "init_failed"
    STARTUP_TIMEOUT = "startup_timeout"
    KEPT_DYING = "kept_dying"
    DIED = "died"  # while ready, and no restart is allowed


class ErrorDetail(str, Enum):
    NONE = "none"
    MESSAGE = "message"
    FULL = "full"


@dataclass(frozen=True)
class FailureReport:
    """Why initialization failed, or why the server is no longer restarted."""

    error: Annotated[str, "one line: `ValueError: bad weights`"] = field(init=False)
    cause: Annotated[Cause, "[what happened](exit-codes.md#causes)"]
    message: Annotated[str, "message of the exception, or a sentence of ours"]
    stage: Annotated[str, "the last stage that was reported, `load_model` for example; empty when unknown"] = ""
    type: Annotated[str, "class name of the exception; empty without one"] = ""
    traceback: Annotated[str, "as the language prints it; may be empty"] = ""
    worker: Annotated[int, "number of the worker, counted from 1"] = 1
    pid: Annotated[int, "of the process; 0 when it could not be started"] = 0
    exit_status: Annotated[int | None, "null when it did not exit by itself"] = None
    signal: Annotated[int | None, "the signal that killed it, if any"] = None
    attempt: Annotated[int, "of the initialization, counted from 1"] = 1
    started_at: Annotated[float, "start of the process, in seconds since the epoch"] = 0.0
    failed_at: Annotated[float, "time of the failure, in seconds since the epoch"] = 0.0
    seconds: Annotated[float, "from start to failure"] = 0.0
    peak_memory_bytes: Annotated[int | None, "highest RSS of the process; null when unknown"] = None
    out_of_memory: Annotated[bool, "whether the kernel OOM-killed the process or a worker of it"] = False
    memory_limit_bytes: Annotated[int | None, "the limit reached by an OOM kill; null when unknown"] = None
    permanent: Annotated[bool, "whether [another attempt would fail in the same way](#failing-and-recovering)"] = False
    stderr_tail: Annotated[str, "the last lines of its stderr"] = ""
    curve: Annotated[UsageSeries | None, "resource usage before the failure; null when it was never sampled"] = None

    def __post_init__(self) -> None:
        error = f"{self.type}: {self.message}" if self.type and self.message else self.type or self.message
        object.__setattr__(self, "error", error)

    @property
    def exit_code(self) -> int:
        if self.cause is Cause.STARTUP_TIMEOUT:
            return ExitCode.STARTUP_TIMEOUT
        if self.cause is Cause.KEPT_DYING:
            return ExitCode.KEPT_DYING
        if self.signal is not None or self.out_of_memory:
            return signal_exit_code(self.signal or SIGKILL)  # an OOM-killed worker's master may exit with any status
        return ExitCode.KEPT_DYING if self.cause is Cause.DIED else ExitCode.INIT_FAILED

    def masked(self) -> "FailureReport":
        """Return the report with secrets masked."""
        free = ("type", "message", "traceback", "stderr_tail")
        texts: dict[str, Any] = {name: mask_secrets(getattr(self, name)) for name in free}
        if self.type:  # mask what `error` shows: the text after a type like InvalidPassword may be the password
            prefix = f"{texts['type']}: "
            texts["message"] = mask_secrets(prefix + texts["message"]).removeprefix(prefix)
        return replace(self, **texts)


def write_failure(report: FailureReport, path: Path) -> None:
    """Replace `path` (mode 0600) atomically: readers see the old report or the new one."""
    temporary = path.with_name(f".{path.name}.new")  # one writer; every reader would have to import `tempfile`
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(report, indent=2))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_failure(path: Path) -> FailureReport | None:
    """Return the report in `path`, or None when it is missing or invalid."""
    try:
        return from_json(FailureReport, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
