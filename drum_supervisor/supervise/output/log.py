"""The supervisor's own lines on stderr, as text or JSON, and supervisord's lines in the same format.

One event per line: when, how severe, who, what. `Log` also is the logger that supervisord asks for: what it says
about programs we say ourselves, with the reason, so its lines are for debugging unless something is wrong.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from drum_supervisor.contract.log_records import stamp

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NO_AUTHENTICATION = "running without any HTTP authentication checking"  # a socket of mode 0600 needs none


class Log:
    """Writes lines to `write`, which must not block.

    Args:
        write: takes one whole line, as bytes.
        level: least severe level that is written: debug, info, warning, error.
        form: text or json.
        now: seconds since the epoch.
    """

    handlers: tuple[Any, ...] = ()  # supervisord reopens log files through these

    def __init__(
        self,
        write: Callable[[bytes], None],
        level: str = "info",
        form: str = "text",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._least = LEVELS[level]
        self._line = _json_line if form == "json" else _text_line
        self._now = now

    def line(self, level: str, message: str, **about: object) -> None:
        """Write one line; `about` are facts that the JSON form shows apart (the message has them in words)."""
        if LEVELS[level] >= self._least:
            self._write(self._line(self._now(), level, message, about).encode("utf-8", "replace"))

    def last_line(self, code: int, words: str) -> None:
        """Write the line that is written whatever the level: the exit code and why."""
        if self._line is _json_line:
            self._write(_json_line(self._now(), "error" if code else "info", words, {"exit_code": code}).encode())
        else:
            self._write(f"drum-supervise: exit {code}: {words}\n".encode("utf-8", "replace"))

    def information(self, message: str, **about: object) -> None:
        self.line("info", message, **about)

    def warning(self, message: str, **about: object) -> None:
        self.line("warning", message, **about)

    # What supervisord calls; `kw` are the values for its %-formats.

    def blather(self, message: str, **kw: object) -> None:
        """Not even for debugging: several lines in each turn of the loop."""

    trace = blather

    def debug(self, message: str, **kw: object) -> None:
        self.line("debug", _formatted(message, kw), by="supervisord")

    info = warn = debug

    def error(self, message: str, **kw: object) -> None:
        self.line("error", _formatted(message, kw), by="supervisord")

    def critical(self, message: str, **kw: object) -> None:
        level = "debug" if _NO_AUTHENTICATION in message else "error"
        self.line(level, _formatted(message, kw), by="supervisord")

    def log(self, level: int, message: str, **kw: object) -> None:
        self.debug(message, **kw)

    def close(self) -> None:
        """Nothing of ours to close: the descriptor was inherited."""


def _formatted(message: str, kw: dict[str, object]) -> str:
    return message % kw if kw else message


def _text_line(now: float, level: str, message: str, about: dict[str, object]) -> str:
    in_one_line = "\\n".join(message.splitlines())  # what a model says must not look like a line of ours
    return f"{stamp(now)} {level.upper():7} drum-supervise: {in_one_line}\n"


def _json_line(now: float, level: str, message: str, about: dict[str, object]) -> str:
    record = {"time": stamp(now), "level": level, "logger": "drum-supervise", "message": message, **about}
    return json.dumps(record) + "\n"
