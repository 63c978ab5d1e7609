"""`drum-supervise stats`: resource usage, once or with --watch."""

import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from drum_supervisor.cli.stats_tables import Sampled, SampledGpus, stats_line, stats_text
from drum_supervisor.cli.target import (
    connect,
    find_run_dir,
    is_running,
    json_option,
    json_schema_option,
    open_pidfd,
    parse_seconds,
    print_json_schema,
    run_dir_option,
)
from drum_supervisor.contract.exits import DrumSupervisorError, UsageError
from drum_supervisor.contract.json_records import to_json
from drum_supervisor.resources.shared_memory import complete
from drum_supervisor.resources.stats import FullStats

if TYPE_CHECKING:
    from drum_supervisor.cli.live import LiveView
    from drum_supervisor.resources.gpu import Gpus

Show: TypeAlias = Callable[[Sampled], None]

INTERVAL = 1.0
MIN_INTERVAL = 0.1
FLUSH_TIMEOUT = 5.0  # a supervisor that no longer answers flushes its output before it exits


@click.command("stats")
@run_dir_option
@json_option
@json_schema_option
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C or until the supervisor ends.")
@click.option(
    "--interval", callback=parse_seconds, metavar="S", help=f"Seconds between samples.  [default: {INTERVAL:g}]"
)
def stats_command(run_dir: str | None, as_json: bool, schema: bool, watch: bool, interval: float | None) -> int:
    """Show resource usage, now and in the last ten minutes.

    Shows memory, CPU, processes and the control group. With --watch: a live view in a terminal, otherwise one line per
    sample; with --json one JSON object per line.
    """
    if schema:
        return print_json_schema(FullStats, "drum-supervise stats --json", {"gpus": SampledGpus})
    if interval is not None and not watch:
        raise UsageError("--interval needs --watch.")
    if interval is not None and interval < MIN_INTERVAL:
        raise UsageError(f"--interval {interval:g}: give at least {MIN_INTERVAL:g} s.")
    with _open_gpus() as gpus:
        if watch:
            return _watch(run_dir, as_json, INTERVAL if interval is None else interval, gpus)
        sampled = _add_gpus(complete(connect(run_dir).stats(FullStats, shared_memory=True, history=True)), gpus)
    if as_json:
        click.echo(_to_json(sampled, indent=2))
    else:
        click.echo(stats_text(sampled, sys.stdout.encoding, shutil.get_terminal_size().columns))
    return 0


def _to_json(sampled: Sampled, indent: int | None = None) -> str:
    stats, gpus = sampled
    return to_json(stats if gpus is None else {**vars(stats), "gpus": gpus}, indent)


# --- --watch


def _watch(run_dir: str | None, as_json: bool, interval: float, gpus: "Gpus | None") -> int:
    """Show samples until Ctrl-C or until the supervisor has ended."""
    directory = find_run_dir(run_dir)
    client = connect(str(directory))
    live = not as_json and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")

    def sample() -> Sampled:
        return _add_gpus(client.stats(FullStats, max_age_seconds=interval / 2, history=live), gpus)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the live view then restores the terminal
    try:
        with _open_view(as_json, live) as show, closing(ExitWatch(client.status().pid, directory)) as exit_watch:
            try:
                _show_samples(exit_watch, sample, show, interval)
            except DrumSupervisorError:  # it does not answer
                if not exit_watch.wait(FLUSH_TIMEOUT):
                    raise
    except KeyboardInterrupt:
        return 0
    click.echo("The supervisor has ended.", err=True)
    return 0


def _show_samples(exit_watch: "ExitWatch", sample: Callable[[], Sampled], show: Show, interval: float) -> None:
    began = time.monotonic()
    show(sample())
    while not exit_watch.wait(max(began + interval - time.monotonic(), 0.0)):
        began = time.monotonic()
        show(sample())


class ExitWatch:
    """Waits for the exit of a supervisor.

    Args:
        directory: its run directory, which replaces the pidfd before Linux 5.3: a supervisor that runs locks it.
    """

    def __init__(self, pid: int, directory: Path) -> None:
        self._pidfd = open_pidfd(pid)
        self._directory = directory
        self._poller = select.poll()
        if self._pidfd is not None:
            self._poller.register(self._pidfd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait for at most so many seconds; return whether the supervisor has exited."""
        return bool(self._poller.poll(seconds * 1000)) or (self._pidfd is None and not is_running(self._directory))

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)


@contextmanager
def _open_view(as_json: bool, live: bool) -> Iterator[Show]:
    if live:
        with _import_live_view()() as view:
            yield view.show
    elif as_json:
        yield lambda sampled: click.echo(_to_json(sampled))
    else:
        yield lambda sampled: click.echo(stats_line(sampled.stats))


def _import_live_view() -> "type[LiveView]":
    try:
        from drum_supervisor.cli.live import LiveView
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise UsageError(
            f"--watch in a terminal needs {missing}: pip install 'drum_supervisor[watch]'. Without it, TERM=dumb "
            "in front of the command prints one line per sample."
        ) from error
    return LiveView


# --- GPUs


@contextmanager
def _open_gpus() -> Iterator["Gpus | None"]:
    from drum_supervisor.resources.gpu import Gpus

    gpus = Gpus.open()
    if gpus is None:
        yield None
        return
    with closing(gpus):
        yield gpus


def _add_gpus(stats: FullStats, gpus: "Gpus | None") -> Sampled:
    if gpus is None:
        return Sampled(stats)
    return Sampled(stats, tuple(gpus.read({each.pid for program in stats.programs for each in program.processes})))
