"""The supervisor's log lines on stderr, as text or JSON: one event per line."""

import json
import time
from collections.abc import Callable
from typing import Any

from drum_supervisor.contract.log_records import stamp

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NO_AUTHENTICATION = "running without any HTTP authentication checking"  # a socket of mode 0600 needs none


class Log:
    """Writes whole lines to `write`, which must not block. It is also supervisord's logger.

    Args:
        level: the lowest level that is written: debug, info, warning, error.
        log_format: text or json.
        now: seconds since the epoch.
    """

    handlers: tuple[Any, ...] = ()  # supervisord reopens log files through these

    def __init__(
        self,
        write: Callable[[bytes], None],
        level: str = "info",
        log_format: str = "text",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = write
        self._min_level = LEVELS[level]
        self._line = _json_line if log_format == "json" else _text_line
        self._now = now

    def line(self, level: str, message: str, **fields: object) -> None:
        """Write one line; `fields` are shown in the JSON format only, because the message has them in words."""
        if LEVELS[level] >= self._min_level:
            self._write(self._line(self._now(), level, message, fields).encode("utf-8", "replace"))

    def exit_line(self, code: int, reason: str) -> None:
        """Write the exit code and the reason, whatever the level."""
        if self._line is _json_line:
            self._write(_json_line(self._now(), "error" if code else "info", reason, {"exit_code": code}).encode())
        else:
            self._write(f"drum-supervise: exit {code}: {reason}\n".encode("utf-8", "replace"))

    def information(self, message: str, **fields: object) -> None:
        self.line("info", message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        self.line("warning", message, **fields)

    # Called by supervisord; `kw` are the values of its %-formats. The supervisor logs the events of programs itself,
    # with the reason, so supervisord's lines are for debugging unless something is wrong.

    def blather(self, message: str, **kw: object) -> None: ...  # several lines in each turn of the loop

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

    def close(self) -> None: ...  # the descriptor was inherited


def _formatted(message: str, kw: dict[str, object]) -> str:
    return message % kw if kw else message


def _text_line(now: float, level: str, message: str, fields: dict[str, object]) -> str:
    in_one_line = "\\n".join(message.splitlines())  # a model's text must not look like another log line
    return f"{stamp(now)} {level.upper():7} drum-supervise: {in_one_line}\n"


def _json_line(now: float, level: str, message: str, fields: dict[str, object]) -> str:
    record = {"time": stamp(now), "level": level, "logger": "drum-supervise", "message": message, **fields}
    return json.dumps(record) + "\n"
