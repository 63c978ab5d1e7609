"""Commands that show and control a running supervisor: status, failure, restart, stop."""

import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from drum_supervisor.cli.tables import failure_text, status_text
from drum_supervisor.cli.target import (
    PROGRESS_INTERVAL,
    connect,
    is_running,
    json_option,
    json_schema_option,
    open_pidfd,
    parse_seconds,
    print_json_schema,
    run_dir_option,
)
from drum_supervisor.contract.exits import ExitCode, UsageError
from drum_supervisor.contract.failure_report import FailureReport, read_failure
from drum_supervisor.contract.json_records import to_json
from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.status import Status

_EXIT_CODES = {Phase.SERVING: 0, Phase.FAILED: 3}  # of `status`, by phase

timeout_option = click.option(
    "--timeout", callback=parse_seconds, metavar="S", help="Give up waiting after this many seconds."
)


@click.command("status")
@run_dir_option
@json_option
@json_schema_option
def status_command(run_dir: str | None, as_json: bool, schema: bool) -> int:
    """Show what is running, since when, and why not.

    Exit code: 0 serving, 3 failed, 1 anything in between, 2 no supervisor found.
    """
    if schema:
        return print_json_schema(Status, "drum-supervise status --json")
    status = connect(run_dir).status()
    click.echo(to_json(status, indent=2) if as_json else status_text(status, time.time()))
    return _EXIT_CODES.get(status.phase, 1)


@click.command("failure")
@run_dir_option
@json_option
def failure_command(run_dir: str | None, as_json: bool) -> int:
    """Show why the model server is not serving, with the traceback.

    With --run-dir this also works after the supervisor has ended: the last failure report stays there.
    """
    report = _read_report(run_dir)
    if as_json:
        click.echo(to_json(report, indent=2))
    elif report:
        click.echo(failure_text(report, sys.stdout.encoding))
    else:
        click.echo("No failure: the model server is serving or still starting.")
    return 0


def _read_report(run_dir: str | None) -> FailureReport | None:
    if run_dir and not is_running(Path(run_dir)):
        report = read_failure(Path(run_dir) / "failure.json")
        if report is None:
            raise UsageError(f"No supervisor runs in {run_dir}, and there is no failure report there.")
        return report
    return connect(run_dir).status().failure


@click.command("restart")
@run_dir_option
@click.option("--worker", type=click.IntRange(min=1), metavar="N", help="Replace only this worker.")
@click.option("--overlap", is_flag=True, help="Start the new worker, wait until it is ready, then stop the old one.")
@click.option("--force", is_flag=True, help="Overlap even where two copies may exceed the memory limit.")
@timeout_option
@click.option("--no-wait", is_flag=True, help="Do not wait for the new workers.")
def restart_command(
    run_dir: str | None, worker: int | None, overlap: bool, force: bool, timeout: float | None, no_wait: bool
) -> int:
    """Replace the workers, one after the other.

    An old worker answers what it has accepted and stops, then the new one starts. With a single worker, connections
    wait meanwhile; --overlap avoids that, and if the new worker fails, the old one stays. After a failure, restart is
    one more attempt to initialize. A command that binds its own port refuses connections until it is back.

    Exit code: 0 serving again, 3 the restart failed, 1 not yet.
    """
    client = connect(run_dir)
    ticket = client.restart(worker or 0, overlap, force)
    if no_wait:
        click.echo("Restart requested.")
        return 0
    return _await_restart(client.status(), client.wait, ticket, timeout)


def _await_restart(status: Status, wait: Callable[[int, float], Status], ticket: int, timeout: float | None) -> int:
    """Wait for the end of the restart with number `ticket`; report progress now and then."""
    began = time.monotonic()
    while not _is_settled(status, ticket):
        elapsed = time.monotonic() - began
        if timeout is not None and elapsed >= timeout:
            click.echo(f"Not ready after {timeout:g} s; the restart goes on.", err=True)
            return 1
        remaining = PROGRESS_INTERVAL if timeout is None else min(PROGRESS_INTERVAL, timeout - elapsed)
        newer = wait(status.serial, remaining)
        if newer.serial == status.serial:
            click.echo(f"{_progress(newer)}, {time.monotonic() - began:.0f} s ...", err=True)
        status = newer
    return _report_restart(status, time.monotonic() - began)


def _progress(status: Status) -> str:
    if status.phase is Phase.SERVING:
        return f"serving, {status.replacing} of {status.workers} workers to be replaced"
    return f"{status.phase.value}, stage {status.stage}" if status.stage else status.phase.value


def _is_settled(status: Status, ticket: int) -> bool:
    started = status.restarts.request >= ticket
    if not started or status.phase not in (Phase.SERVING, Phase.FAILED, Phase.STOPPING):
        return False
    return bool(status.restart_failure) or not (status.workers_coming or status.replacing)


def _report_restart(status: Status, seconds: float) -> int:
    ready = f"{status.workers_ready} of {status.workers} workers ready"
    if status.phase is Phase.SERVING and status.restart_failure:
        error = status.restart_failure.error
        click.echo(f"The restart failed after {seconds:.1f} s: {error}\nStill serving: {ready}.", err=True)
        return ExitCode.INIT_FAILED
    if status.phase is Phase.SERVING:
        click.echo(f"Serving again after {seconds:.1f} s: {ready}.")
        return 0
    error = status.failure.error if status.failure else "the supervisor is stopping"
    click.echo(f"The restart failed after {seconds:.1f} s: {error}", err=True)
    return ExitCode.INIT_FAILED


@click.command("stop")
@run_dir_option
@timeout_option
@click.option("--no-wait", is_flag=True, help="Do not wait until the supervisor has ended.")
def stop_command(run_dir: str | None, timeout: float | None, no_wait: bool) -> int:
    """Stop the supervisor and everything it runs, gracefully."""
    client = connect(run_dir)
    pid = client.status().pid
    pidfd = open_pidfd(pid)
    client.stop()
    if no_wait or pidfd is None:
        click.echo(f"Stop requested (pid {pid}).")
        return 0
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(None if timeout is None else min(timeout * 1000, 2**31 - 1)):
        click.echo(f"The supervisor (pid {pid}) is still stopping after {timeout:g} s.", err=True)
        return 1
    click.echo(f"Stopped (pid {pid}).")
    return 0
