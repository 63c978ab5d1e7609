"""The failure report: why the model server is not serving, kept as `failure.json` in the run directory."""

import json
import os
from dataclasses import Field, asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from signal import SIGKILL
from typing import Any

from drum_supervisor.contract.exits import ExitCode, of_signal
from drum_supervisor.contract.masking import mask_secrets
from drum_supervisor.contract.usage_series import Curve


class Cause(str, Enum):
    """Why there is a failure report at all; decides the exit code.

    DIED is a death after it was ready where no restart is allowed.
    """

    INIT_FAILED = "init_failed"
    STARTUP_TIMEOUT = "startup_timeout"
    KEPT_DYING = "kept_dying"
    DIED = "died"


class ErrorDetail(str, Enum):
    """How much of a failure a client may see."""

    NONE = "none"
    MESSAGE = "message"
    FULL = "full"


@dataclass(frozen=True)
class FailureReport:
    """Why initialization failed, or why the server is no longer restarted.

    Attributes:
        cause: what kind of failure.
        stage: the last stage that was reached, `load_model` for example; empty when unknown.
        type: name of the exception's class; empty when there was no exception.
        message: the real error in one line or a few.
        traceback: as Python printed it; may be empty.
        worker: which worker, counted from 1.
        pid: of the process that failed, 0 when it could not be started.
        exit_status: its exit status, None when it did not exit by itself.
        signal: the signal that killed it, None when none did.
        attempt: which attempt to initialize, counted from 1.
        started_at, failed_at: seconds since the epoch.
        seconds: from start to failure.
        peak_memory_bytes: largest resident memory of the process, None when unknown.
        out_of_memory: whether the kernel killed it, or a worker of it, for want of memory.
        memory_limit_bytes: the limit that was reached then, None when unknown.
        permanent: whether another attempt would only fail in the same way.
        stderr_tail: the last lines it wrote to stderr.
        curve: memory and CPU in the last minutes, None when it was never sampled.
    """

    cause: Cause
    message: str
    stage: str = ""
    type: str = ""
    traceback: str = ""
    worker: int = 1
    pid: int = 0
    exit_status: int | None = None
    signal: int | None = None
    attempt: int = 1
    started_at: float = 0.0
    failed_at: float = 0.0
    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    out_of_memory: bool = False
    memory_limit_bytes: int | None = None
    permanent: bool = False
    stderr_tail: str = ""
    curve: Curve | None = None

    @property
    def error(self) -> str:
        """The failure as clients, logs and the termination message say it: `ValueError: bad weights`."""
        return f"{self.type}: {self.message}" if self.type and self.message else self.type or self.message

    @property
    def exit_code(self) -> int:
        """The exit code of a supervisor that gives up because of this failure."""
        if self.cause is Cause.STARTUP_TIMEOUT:
            return ExitCode.STARTUP_TIMEOUT
        if self.cause is Cause.KEPT_DYING:
            return ExitCode.KEPT_DYING
        if (
            self.signal is not None or self.out_of_memory
        ):  # the kernel kills with SIGKILL; whoever died of it may not say
            return of_signal(self.signal or SIGKILL)
        return ExitCode.KEPT_DYING if self.cause is Cause.DIED else ExitCode.INIT_FAILED

    def masked(self) -> "FailureReport":
        """Return the report without anything that looks like a secret."""
        free = ("type", "message", "traceback", "stderr_tail")
        texts = {name: mask_secrets(getattr(self, name)) for name in free}
        if self.type:  # as `error` says it: what follows a type like InvalidPassword may be the password
            prefix = f"{texts['type']}: "
            texts["message"] = mask_secrets(prefix + texts["message"]).removeprefix(prefix)
        return FailureReport(**{**self._values(), **texts})

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-able values, with `error` for readers who want one line."""
        return {"error": self.error, **asdict(self), "cause": self.cause.value}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "FailureReport":
        """Read what `to_json` wrote; unknown names are ignored.

        Raises:
            ValueError, TypeError, KeyError: it is not such a record.
        """
        values = {**record, "cause": Cause(record["cause"])}
        if values.get("curve") is not None:
            values["curve"] = Curve.from_json(values["curve"])
        return cls(**{field.name: _checked(field, values[field.name]) for field in fields(cls) if field.name in values})

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _checked(field: Field[Any], value: Any) -> Any:
    expected: Any = int | float if field.type is float else field.type
    if not isinstance(value, expected):
        raise TypeError(f"{field.name} is {value!r}")
    return value


def write_failure(report: FailureReport, path: Path) -> None:
    """Write `report` to `path`, mode 0600, in one step: a reader sees the old or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.new")  # there is one writer; `tempfile` would be loaded by all readers
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(report.to_json(), file, indent=2)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_failure(path: Path) -> FailureReport | None:
    """Return the report in `path`, or None when there is none that can be read."""
    try:
        return FailureReport.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
