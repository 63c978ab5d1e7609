"""`drum-supervise logs`: the recent output of the programs and the supervisor, and with -f what follows."""

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

import click

from drum_supervisor.cli.target import connect, json_option, run_dir_option
from drum_supervisor.contract.log_records import STDERR, STDOUT, SUPERVISOR, LineFormatter, LogRecord, LogSource

if TYPE_CHECKING:
    from drum_supervisor.contract.control_client import ControlClient

WAIT_SECONDS = 30.0


@click.command("logs")
@run_dir_option
@click.option("-f", "--follow", is_flag=True, help="Keep printing until Ctrl-C or until the supervisor ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Print this many recent lines."
)
@click.option("--program", metavar="NAME", help=f"Only the output of this program; {SUPERVISOR} is the supervisor.")
@click.option("--stream", type=click.Choice([STDOUT, STDERR]), help="Only this stream.")
@json_option
def logs_command(
    run_dir: str | None, follow: bool, lines: int, program: str | None, stream: str | None, as_json: bool
) -> int:
    """Print recent output of all programs and the supervisor.

    The supervisor keeps the last mebibyte in memory, in order. --json prints one object per line: program, stream,
    message.
    """
    client = connect(run_dir)
    if program is not None:
        _check_program(client, program)
    position, records = _read_kept(client)
    to_lines = _JsonLines().convert if as_json else _split_lines
    recent = deque(to_lines(_filter(records, program, stream)), maxlen=lines)
    new = to_lines(_filter(_follow(client, position), program, stream)) if follow else ()
    with suppress(KeyboardInterrupt):
        for line in chain(recent, new):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return 0


def _check_program(client: "ControlClient", program: str) -> None:
    known = [SUPERVISOR, *(each.name for each in client.status().programs)]
    if program not in known:
        raise click.BadParameter(f"{program!r} has not run: choose from {', '.join(known)}.", param_hint="--program")


def _read_kept(client: "ControlClient") -> tuple[str, list[LogRecord]]:
    """Return all output that the supervisor keeps, and the position after it."""
    position, found = "0", list[LogRecord]()
    while True:
        position, records = client.logs(position, 0)
        if not records:
            return position, found
        found += records


def _follow(client: "ControlClient", position: str) -> Iterator[LogRecord]:
    from drum_supervisor.contract.control_client import ControlError

    while True:
        try:
            position, records = client.logs(position, WAIT_SECONDS)
        except ControlError:
            click.echo("The supervisor has ended.", err=True)
            return
        yield from records


def _filter(records: Iterable[LogRecord], program: str | None, stream: str | None) -> Iterator[LogRecord]:
    for record in records:
        if program in (None, record.source.program) and stream in (None, record.source.stream):
            yield record


def _split_lines(records: Iterable[LogRecord]) -> Iterator[bytes]:
    """Yield the lines of `records`; the beginning of a line is not held back."""
    for record in records:
        yield from record.data.splitlines(keepends=True)


class _JsonLines:
    """Converts whole lines to JSON objects; the beginning of a line waits for its end."""

    def __init__(self) -> None:
        self._formatters: dict[LogSource, LineFormatter] = {}

    def convert(self, records: Iterable[LogRecord]) -> Iterator[bytes]:
        for record in records:
            formatter = self._formatters.setdefault(record.source, LineFormatter(record.source, _to_json))
            yield from formatter.wrap(record.data).splitlines(keepends=True)


def _to_json(source: LogSource, line: bytes) -> bytes:
    message = line.decode("utf-8", "replace")
    return json.dumps({"program": source.program, "stream": source.stream, "message": message}).encode() + b"\n"
