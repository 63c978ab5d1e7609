"""The report pipe: a child reports its initialization to the supervisor, one JSON object per line.

The pipe is fd 4, and its number is in DRUM_SUPERVISOR_REPORT_FD. Any program may use it:
`echo '{"kind": "ready"}' >&4`.
"""

import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from drum_supervisor.contract.exits import DrumSupervisorError, UsageError
from drum_supervisor.contract.fds import REPORT_FD_VARIABLE

MAX_LINE = 32 * 1024

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


@dataclass(frozen=True)
class ReadyMessage:
    """The program answers requests."""


@dataclass(frozen=True)
class StageMessage:
    name: str  # importing, init, load_model, warming up ...


@dataclass(frozen=True)
class InitFailedMessage:
    stage: str  # the hook or step, `load_model` for example
    type: str  # class name of the exception; empty for a user error, whose message says it all
    message: str
    traceback: str = ""  # as Python prints it; may be empty
    permanent: bool = False  # whether another attempt would fail in the same way


@dataclass(frozen=True)
class RecycleMessage:
    """The program reached its request limit and asks to be recycled; it serves until it is stopped."""


Message: TypeAlias = ReadyMessage | StageMessage | InitFailedMessage | RecycleMessage


class InvalidMessageError(ValueError):
    """An invalid line on the report pipe; the text says why."""


def encode(message: Message) -> bytes:
    """Return the line for `message`, at most MAX_LINE bytes: a long traceback loses its beginning."""
    match message:
        case ReadyMessage():
            return b'{"kind": "ready"}\n'
        case RecycleMessage():
            return b'{"kind": "spent"}\n'
        case StageMessage(name):
            return _line({"kind": "stage", "stage": name[:200]})
        case InitFailedMessage():
            record = {"kind": "init_failed", **asdict(message)}
            record["stage"], record["type"] = message.stage[:200], message.type[:200]
            return _shortened(record)


def decode(line: bytes) -> Message:
    """Read one line; InvalidMessageError: too long, not a JSON object, or of an unknown kind."""
    if len(line) > MAX_LINE:
        raise InvalidMessageError(f"a line of {len(line)} bytes, more than {MAX_LINE}")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise InvalidMessageError("not a JSON object")
    kind = record.get("kind")
    if kind == "ready":
        return ReadyMessage()
    if kind == "spent":
        return RecycleMessage()
    if kind == "stage":
        return StageMessage(_text(record, "stage"))
    if kind == "init_failed":
        texts = {name: _text(record, name) for name in ("stage", "type", "message", "traceback")}
        return InitFailedMessage(**texts, permanent=record.get("permanent") is True)
    raise InvalidMessageError(f"unknown kind {repr(kind)[:80]}")


class Reporter:
    """The child's end of the pipe; does nothing without a supervisor. Fork-safe: each message is one write."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Reporter":
        """Return the reporter of this process, and close the pipe on exec: its own children must not report."""
        number = environ.get(REPORT_FD_VARIABLE, "")
        if not (number.isascii() and number.isdigit()):
            return cls(None)
        try:
            os.set_inheritable(int(number), False)
        except (OSError, OverflowError):
            return cls(None)
        return cls(int(number))

    @property
    def is_connected(self) -> bool:
        return self._fd is not None

    def send(self, message: Message) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, encode(message))
        except OSError:  # the child survives a supervisor that is gone
            self._fd = None


def init_failed(error: BaseException, stage: str) -> InitFailedMessage:
    """Describe `error`, raised in `stage`. Never raises, whatever the user's class does."""
    message = error_text(error)
    if isinstance(error, DrumSupervisorError):
        return InitFailedMessage(stage, "", message, permanent=isinstance(error, UsageError))
    return InitFailedMessage(stage, type(error).__name__, message, traceback_text(error))


def traceback_text(error: BaseException) -> str:
    """Return the traceback as Python prints it, from the first frame of user code. Never raises."""
    first = error.__traceback__
    while first is not None and _is_internal(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    # Without a frame of user code (a SyntaxError in the user's file, an error of our own) show all frames.
    return _format_safely(lambda: "".join(traceback.format_exception(type(error), error, first or error.__traceback__)))


def _is_internal(filename: str) -> bool:
    return filename.startswith((_PACKAGE, "<frozen importlib"))


def error_text(error: BaseException) -> str:
    """Return the text of an error of the user's code. Never raises, whatever the user's class does."""
    if isinstance(error, SystemExit):
        return f"the model called sys.exit({_format_safely(lambda: repr(error.code))})"
    return _format_safely(lambda: str(error))


def _format_safely(format_text: Callable[[], str]) -> str:
    """Return the text: an exception that cannot be formatted must not hide the failure."""
    try:
        return format_text()
    except (Exception, SystemExit) as broken:  # noqa: BLE001 - the user's class may raise anything
        return f"(its text cannot be shown: {type(broken).__name__})"


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair cannot be encoded


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode("ascii") + b"\n"


def _shortened(record: dict[str, Any]) -> bytes:
    """Cut the traceback's beginning, then the message's end, until the line fits: the last frames say the most."""
    message, frames = record["message"][:4000], record["traceback"][-MAX_LINE:]
    while len(line := _line({**record, "message": message, "traceback": frames})) > MAX_LINE:
        excess = -((MAX_LINE - len(line)) // 12)  # no character takes more than 12 bytes
        if frames:
            frames = frames[excess:]
        else:
            message = message[:-excess]
    return line
