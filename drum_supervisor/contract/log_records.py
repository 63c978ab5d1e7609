"""Records of the programs' output, as buffered, sent over the control socket and printed."""

import json
import time
from collections.abc import Callable
from typing import NamedTuple

SUPERVISOR = "drum-supervise"
STDOUT, STDERR = "stdout", "stderr"


class LogSource(NamedTuple):
    """The program (or the supervisor) and its stream, `stdout` or `stderr`."""

    program: str
    stream: str


class LogRecord(NamedTuple):
    """Some bytes of one source; `offset` is the number of records before it."""

    offset: int
    source: LogSource
    data: bytes


MAX_LINE = 64 * 1024  # bytes; a longer line is split

LineFormat = Callable[[LogSource, bytes], bytes]
"""Returns the line as it is written, given a line of a program without its line end."""


def prefixed(source: LogSource, line: bytes) -> bytes:
    """Return `model-server | the line`."""
    return b"%s | %s\n" % (source.program.encode(), line)


def as_json(source: LogSource, line: bytes, now: Callable[[], float] = time.time) -> bytes:
    """Return a record like those of the supervisor's own lines, with the name of the program as the logger."""
    record = {
        "time": stamp(now()),
        "level": "info",
        "logger": source.program,
        "stream": source.stream,
        "message": line.decode("utf-8", "replace"),
    }
    return json.dumps(record).encode() + b"\n"


class LineFormatter:
    """Wraps what one program writes to one stream, line by line; what is no whole line yet has to wait."""

    def __init__(self, source: LogSource, line_format: LineFormat) -> None:
        self._source = source
        self._format = line_format
        self._unfinished = b""

    def wrap(self, data: bytes) -> bytes:
        """Return the lines that are whole now, wrapped."""
        *lines, rest = (self._unfinished + data).split(b"\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._unfinished = rest
        return b"".join(self._format(self._source, line.removesuffix(b"\r")) for line in lines)

    def rest(self) -> bytes:
        """Return the last line, which no line end will follow any more, wrapped; nothing if there is none."""
        last, self._unfinished = self._unfinished, b""
        return self._format(self._source, last) if last else b""


def stamp(now: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
