"""The report pipe: what a child tells the supervisor about its initialization, one JSON object a line.

The pipe is fd 4; its number is in DRUM_SUPERVISOR_REPORT_FD. Any program may use it:
`echo '{"kind": "ready"}' >&4`.
"""

import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from drum_supervisor.contract.exits import DrumSupervisorError, UsageError
from drum_supervisor.contract.fds import READY_LINE, REPORT_FD_VARIABLE

MAX_LINE = 32 * 1024

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


@dataclass(frozen=True)
class Ready:
    """The program answers requests."""


@dataclass(frozen=True)
class Stage:
    """The program has reached a stage of its initialization: importing, init, load_model, warming up ..."""

    name: str


@dataclass(frozen=True)
class InitFailed:
    """Initialization failed.

    Attributes:
        stage: where: the hook or step, `load_model` for example.
        type: name of the exception's class; empty for a mistake of the user that needs no class to be understood.
        message: the exception's text, or a sentence.
        traceback: as Python prints it; may be empty.
        permanent: whether another attempt would only fail in the same way.
    """

    stage: str
    type: str
    message: str
    traceback: str = ""
    permanent: bool = False


@dataclass(frozen=True)
class Spent:
    """The program has done enough, and asks to be replaced by a new one; it goes on until it is told to stop."""


Message: TypeAlias = Ready | Stage | InitFailed | Spent


class BadReportError(ValueError):
    """A line on the report pipe that is no message; its text says why."""


def encode(message: Message) -> bytes:
    """Return the line for `message`, at most MAX_LINE bytes: a longer traceback loses its beginning."""
    match message:
        case Ready():
            return READY_LINE
        case Spent():
            return b'{"kind": "spent"}\n'
        case Stage(name):
            return _line({"kind": "stage", "stage": name[:200]})
        case InitFailed():
            record = {"kind": "init_failed", **asdict(message)}
            record["stage"], record["type"] = message.stage[:200], message.type[:200]
            return _shortened(record)


def decode(line: bytes) -> Message:
    """Read one line of the report pipe.

    Raises:
        BadReportError: too long, no JSON object, or of an unknown kind.
    """
    if len(line) > MAX_LINE:
        raise BadReportError(f"a line of {len(line)} bytes, more than {MAX_LINE}")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadReportError(f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise BadReportError("not a JSON object")
    kind = record.get("kind")
    if kind == "ready":
        return Ready()
    if kind == "spent":
        return Spent()
    if kind == "stage":
        return Stage(_text(record, "stage"))
    if kind == "init_failed":
        texts = {name: _text(record, name) for name in ("stage", "type", "message", "traceback")}
        return InitFailed(**texts, permanent=record.get("permanent") is True)
    raise BadReportError(f"unknown kind {repr(kind)[:80]}")


class Reporter:
    """The child's end of the report pipe; without a supervisor it does nothing.

    Safe to use after a fork: each message is one write.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Reporter":
        """Return the reporter for this process; the pipe is not passed on to its own children by exec."""
        number = environ.get(REPORT_FD_VARIABLE, "")
        if not (number.isascii() and number.isdigit()):
            return cls(None)
        try:
            os.set_inheritable(int(number), False)
        except (OSError, OverflowError):
            return cls(None)
        return cls(int(number))

    @property
    def connected(self) -> bool:
        """Whether a supervisor listens."""
        return self._fd is not None

    def send(self, message: Message) -> None:
        """Send `message`; a supervisor that is gone is no reason for the child to fail."""
        if self._fd is None:
            return
        try:
            os.write(self._fd, encode(message))
        except OSError:
            self._fd = None


def init_failed(error: BaseException, stage: str) -> InitFailed:
    """Describe `error`, raised in `stage`, for the supervisor. Never raises, whatever the user's class does."""
    message = _shown(lambda: str(error))
    if isinstance(error, SystemExit):
        message = f"the model called sys.exit({_shown(lambda: repr(error.code))})"
    if isinstance(error, DrumSupervisorError):
        return InitFailed(stage, "", message, permanent=isinstance(error, UsageError))
    return InitFailed(stage, type(error).__name__, message, traceback_text(error))


def traceback_text(error: BaseException) -> str:
    """Return the traceback as Python prints it, beginning where the user's code does. Never raises."""
    first = error.__traceback__
    while first is not None and _is_ours(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    # A SyntaxError in the user's file has no frame of theirs; an error of our own keeps all its frames.
    return _shown(lambda: "".join(traceback.format_exception(type(error), error, first or error.__traceback__)))


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE, "<frozen importlib"))


def _shown(show: Callable[[], str]) -> str:
    """Return the text; an exception that cannot be shown must not hide that there was a failure."""
    try:
        return show()
    except Exception as broken:  # noqa: BLE001 - the user's class may raise anything
        return f"(its text cannot be shown: {type(broken).__name__})"


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()  # a half of a surrogate pair cannot be printed


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"


def _shortened(record: dict[str, Any]) -> bytes:
    """Cut the message's end and the traceback's beginning until the line fits: the last frames say the most."""
    message, frames = record["message"][:4000], record["traceback"][-MAX_LINE:]
    while len(line := _line({**record, "message": message, "traceback": frames})) > MAX_LINE:
        excess = -((MAX_LINE - len(line)) // 12)  # no character takes more than 12 bytes
        if frames:
            frames = frames[excess:]
        else:
            message = message[:-excess]
    return line
