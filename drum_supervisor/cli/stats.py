"""The command `stats`: what the programs use, once or again and again."""

import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from drum_supervisor.cli.sparkline import levels_for
from drum_supervisor.cli.stats_tables import stats_line, stats_text
from drum_supervisor.cli.target import client_of, find, is_running, json_option, run_dir_option, seconds, watched
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.resources.shared_memory import complete

if TYPE_CHECKING:
    from drum_supervisor.cli.live import LiveView
    from drum_supervisor.resources.gpu import Gpus

Stats: TypeAlias = dict[str, Any]
Show: TypeAlias = Callable[[Stats], None]

INTERVAL = 1.0
SHORTEST_INTERVAL = 0.1
LONGEST_END = 5.0  # a supervisor that answers no more flushes its output for some seconds before it is gone


@click.command("stats")
@run_dir_option
@json_option
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C or until the supervisor ends.")
@click.option("--interval", callback=seconds, metavar="S", help=f"Seconds between two looks.  [default: {INTERVAL:g}]")
def stats_command(run_dir: str | None, as_json: bool, watch: bool, interval: float | None) -> int:
    """Show what the programs use: memory, CPU, processes, control group, and the last ten minutes.

    With --watch a live view in a terminal, else a line for each look; with --json too, a JSON object a line.
    """
    if interval is not None and not watch:
        raise UsageError("--interval says how often --watch looks: give both.")
    if interval is not None and interval < SHORTEST_INTERVAL:
        raise UsageError(f"--interval {interval:g}: give at least {SHORTEST_INTERVAL:g} s.")
    with _gpus() as gpus:
        if watch:
            return _watch(run_dir, as_json, INTERVAL if interval is None else interval, gpus)
        stats = _with_gpus(complete(client_of(run_dir).stats(shared_memory=True, history=True)), gpus)
    if as_json:
        click.echo(json.dumps(stats, indent=2))
    else:
        click.echo(stats_text(stats, levels_for(sys.stdout.encoding), shutil.get_terminal_size().columns))
    return 0


# --- again and again


def _watch(run_dir: str | None, as_json: bool, interval: float, gpus: "Gpus | None") -> int:
    """Look until somebody has seen enough, or nothing is left to see."""
    from drum_supervisor.contract.control_client import Client, ControlError

    directory = find(run_dir)
    client = Client(directory / "supervisor.sock")
    live = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")

    def look() -> Stats:
        return _with_gpus(client.stats(max_age_seconds=interval / 2, history=live), gpus)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal is put in order then too
    try:
        with _shower(as_json, live) as show, closing(End(client.status()["pid"], directory)) as end:
            try:
                _show_until(end, look, show, interval)
            except ControlError:
                if not end.comes_within(LONGEST_END):
                    raise
    except KeyboardInterrupt:
        return 0
    click.echo("The supervisor has ended.", err=True)
    return 0


def _show_until(end: "End", look: Callable[[], Stats], show: Show, interval: float) -> None:
    began = time.monotonic()
    show(look())
    while not end.comes_within(max(began + interval - time.monotonic(), 0.0)):
        began = time.monotonic()
        show(look())


class End:
    """The end of a supervisor, to be waited for.

    Args:
        pid: of the supervisor.
        directory: its run directory, which tells where the kernel has no descriptors of processes.
    """

    def __init__(self, pid: int, directory: Path) -> None:
        self._process = watched(pid)
        self._directory = directory
        self._poller = select.poll()
        if self._process is not None:
            self._poller.register(self._process, select.POLLIN)

    def comes_within(self, limit: float) -> bool:
        """Wait for so many seconds, or until it has come; return whether it has."""
        return bool(self._poller.poll(limit * 1000)) or (self._process is None and not is_running(self._directory))

    def close(self) -> None:
        if self._process is not None:
            os.close(self._process)


@contextmanager
def _shower(as_json: bool, live: bool) -> Iterator[Show]:
    """Give what shows each look."""
    if live:
        with _live_view()() as view:
            yield view.show
    elif as_json:
        yield lambda stats: click.echo(json.dumps(stats))
    else:
        yield lambda stats: click.echo(stats_line(stats))


def _live_view() -> "type[LiveView]":
    try:
        from drum_supervisor.cli.live import LiveView
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise UsageError(
            f"--watch in a terminal needs {missing}: pip install 'drum_supervisor[watch]'. Without it, TERM=dumb "
            "in front of the command prints a line for each look."
        ) from error
    return LiveView


# --- GPUs


@contextmanager
def _gpus() -> Iterator["Gpus | None"]:
    from drum_supervisor.resources.gpu import Gpus

    gpus = Gpus.open()
    if gpus is None:
        yield None
        return
    with closing(gpus):
        yield gpus


def _with_gpus(stats: Stats, gpus: "Gpus | None") -> Stats:
    """Add what the GPUs are used for; nothing where there are none."""
    if gpus is None:
        return stats
    pids = {process["pid"] for program in stats["programs"] for process in program["processes"]}
    return {**stats, "gpus": [asdict(gpu) for gpu in gpus.read(pids)]}
