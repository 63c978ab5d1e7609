"""Records of the programs' output, as buffered, sent over the control socket and printed."""

from typing import NamedTuple

SUPERVISOR = "drum-supervise"
OUT, ERR = "stdout", "stderr"


class Source(NamedTuple):
    """The program (or the supervisor) and its stream, `stdout` or `stderr`."""

    program: str
    stream: str


class Piece(NamedTuple):
    """Some bytes of one source; `at` is its offset, the number of records before it."""

    at: int
    source: Source
    data: bytes
