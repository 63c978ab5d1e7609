"""The failure report: why the model server does not serve; `failure.json` in the run directory."""

import json
import os
from dataclasses import Field, asdict, dataclass, fields, replace
from enum import Enum
from pathlib import Path
from signal import SIGKILL
from typing import Any

from drum_supervisor.contract.exits import ExitCode, signal_exit_code
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

    cause: Cause
    message: str
    stage: str = ""  # the latest one, `load_model` for example; empty when unknown
    type: str = ""  # class name of the exception; empty without one
    traceback: str = ""  # as Python printed it; may be empty
    worker: int = 1  # counted from 1
    pid: int = 0  # 0 when the process could not be started
    exit_status: int | None = None  # None when it did not exit by itself
    signal: int | None = None  # the signal that killed it, if any
    attempt: int = 1  # to initialize, counted from 1
    started_at: float = 0.0  # seconds since the epoch
    failed_at: float = 0.0  # seconds since the epoch
    seconds: float = 0.0  # from start to failure
    peak_memory_bytes: int | None = None  # the highest RSS of the process; None when unknown
    out_of_memory: bool = False  # whether the kernel OOM-killed the process or a worker of it
    memory_limit_bytes: int | None = None  # the limit reached by an OOM kill; None when unknown
    permanent: bool = False  # whether another attempt would fail in the same way
    stderr_tail: str = ""
    curve: UsageSeries | None = None  # the last minutes of memory and CPU; None when never sampled

    @property
    def error(self) -> str:
        """One line for clients, logs and the termination message: `ValueError: bad weights`."""
        return f"{self.type}: {self.message}" if self.type and self.message else self.type or self.message

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

    def to_json(self) -> dict[str, Any]:
        return {"error": self.error, **asdict(self), "cause": self.cause.value}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "FailureReport":
        """Read the result of `to_json`, ignoring unknown names; an invalid one raises Value-, Type- or KeyError."""
        values = {**record, "cause": Cause(record["cause"])}
        if values.get("curve") is not None:
            values["curve"] = UsageSeries.from_json(values["curve"])
        return cls(**{field.name: _checked(field, values[field.name]) for field in fields(cls) if field.name in values})


def _checked(field: Field[Any], value: Any) -> Any:
    expected: Any = int | float if field.type is float else field.type
    if not isinstance(value, expected):
        raise TypeError(f"{field.name} is {value!r}")
    return value


def write_failure(report: FailureReport, path: Path) -> None:
    """Replace `path` (mode 0600) atomically: readers see the old report or the new one."""
    temporary = path.with_name(f".{path.name}.new")  # one writer; every reader would have to import `tempfile`
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(report.to_json(), file, indent=2)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_failure(path: Path) -> FailureReport | None:
    """Return the report in `path`, or None when it is missing or invalid."""
    try:
        return FailureReport.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
