"""A piece of output as it is kept, asked for over the control socket and printed."""

from typing import NamedTuple

SUPERVISOR = "drum-supervise"
OUT, ERR = "stdout", "stderr"


class Source(NamedTuple):
    """Who wrote, and to what: a program's name, or the supervisor's; `stdout` or `stderr`."""

    program: str
    stream: str


class Piece(NamedTuple):
    """Some bytes from one source; `at` is how many pieces there were before it."""

    at: int
    source: Source
    data: bytes
