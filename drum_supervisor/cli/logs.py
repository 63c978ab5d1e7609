"""`drum-supervise logs`: what the programs, and the supervisor, have written of late, and go on writing."""

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

import click

from drum_supervisor.cli.target import client_of, json_option, run_dir_option
from drum_supervisor.contract.log_records import ERR, OUT, SUPERVISOR, LineFormatter, Piece, Source

if TYPE_CHECKING:
    from drum_supervisor.contract.control_client import Client

WAIT_SECONDS = 30.0


@click.command("logs")
@run_dir_option
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, or until the supervisor ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Begin with so many lines."
)
@click.option("--program", metavar="NAME", help=f"Only what this program has written; the supervisor is {SUPERVISOR}.")
@click.option("--stream", type=click.Choice([OUT, ERR]), help="Only what was written there.")
@json_option
def logs_command(
    run_dir: str | None, follow: bool, lines: int, program: str | None, stream: str | None, as_json: bool
) -> int:
    """Print what the programs and the supervisor have written, in order, as it is.

    The supervisor keeps the last mebibyte in memory. With --json there is an object a line: program, stream, message.
    """
    client = client_of(run_dir)
    if program is not None:
        _check(client, program)
    position, pieces = _kept(client)
    write = _Records().lines if as_json else _lines
    last = deque(write(_chosen(pieces, program, stream)), maxlen=lines)
    new = write(_chosen(_followed(client, position), program, stream)) if follow else ()
    with suppress(KeyboardInterrupt):
        for line in chain(last, new):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return 0


def _check(client: "Client", program: str) -> None:
    known = [SUPERVISOR, *(each["name"] for each in client.status()["programs"])]
    if program not in known:
        raise click.BadParameter(f"{program!r} has not run: there are {', '.join(known)}.", param_hint="--program")


def _kept(client: "Client") -> tuple[str, list[Piece]]:
    """Return all that is kept, and the position after it."""
    position, found = "0", list[Piece]()
    while True:
        position, pieces = client.logs(position, 0)
        if not pieces:
            return position, found
        found += pieces


def _followed(client: "Client", position: str) -> Iterator[Piece]:
    from drum_supervisor.contract.control_client import ControlError

    while True:
        try:
            position, pieces = client.logs(position, WAIT_SECONDS)
        except ControlError:
            click.echo("The supervisor has ended.", err=True)
            return
        yield from pieces


def _chosen(pieces: Iterable[Piece], program: str | None, stream: str | None) -> Iterator[Piece]:
    for piece in pieces:
        if program in (None, piece.source.program) and stream in (None, piece.source.stream):
            yield piece


def _lines(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Yield the lines in `pieces`; what may be the beginning of one is not held back."""
    for piece in pieces:
        yield from piece.data.splitlines(keepends=True)


class _Records:
    """Makes a JSON object of each whole line."""

    def __init__(self) -> None:
        self._wrappers: dict[Source, LineFormatter] = {}

    def lines(self, pieces: Iterable[Piece]) -> Iterator[bytes]:
        for piece in pieces:
            wrapper = self._wrappers.setdefault(piece.source, LineFormatter(piece.source, _record))
            yield from wrapper.wrap(piece.data).splitlines(keepends=True)


def _record(source: Source, line: bytes) -> bytes:
    message = line.decode("utf-8", "replace")
    return json.dumps({"program": source.program, "stream": source.stream, "message": message}).encode() + b"\n"
