"""The commands with which operators look at a running supervisor and act on it."""

import json
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drum_supervisor.cli.sparkline import levels_for
from drum_supervisor.cli.tables import failure_text, status_text
from drum_supervisor.cli.target import client_of, is_running, json_option, run_dir_option, seconds, watched
from drum_supervisor.contract.exits import ExitCode, UsageError
from drum_supervisor.contract.failure_report import FailureReport, read_failure

if TYPE_CHECKING:
    from drum_supervisor.contract.control_client import Client

PROGRESS_EVERY = 5.0
_EXIT_CODES = {"serving": 0, "failed": 3}  # of `status`, by phase

timeout_option = click.option("--timeout", callback=seconds, metavar="S", help="Give up waiting after so many seconds.")


@click.command("status")
@run_dir_option
@json_option
def status_command(run_dir: str | None, as_json: bool) -> int:
    """Show what is running, since when, and why not.

    Exit code: 0 serving, 3 failed, 1 anything in between, 2 no supervisor found.
    """
    status = client_of(run_dir).status()
    click.echo(json.dumps(status, indent=2) if as_json else status_text(status, time.time()))
    return _EXIT_CODES.get(status["phase"], 1)


@click.command("failure")
@run_dir_option
@json_option
def failure_command(run_dir: str | None, as_json: bool) -> int:
    """Show why the model server is not serving, with the traceback.

    With --run-dir this also works when the supervisor is gone: the last failure report stays there.
    """
    report = _failure(run_dir)
    if as_json:
        click.echo(json.dumps(report.to_json() if report else None, indent=2))
    else:
        levels = levels_for(sys.stdout.encoding)
        found = failure_text(report, levels) if report else "No failure: the model server is serving or still starting."
        click.echo(found)
    return 0


@click.command("restart")
@run_dir_option
@click.option("--worker", type=click.IntRange(min=1), metavar="N", help="Replace this worker only.")
@click.option("--overlap", is_flag=True, help="Start the new one, wait until it is ready, then stop the old one.")
@click.option("--force", is_flag=True, help="Overlap also where two copies may not fit into the memory limit.")
@timeout_option
@click.option("--no-wait", is_flag=True, help="Do not wait for the new workers.")
def restart_command(
    run_dir: str | None, worker: int | None, overlap: bool, force: bool, timeout: float | None, no_wait: bool
) -> int:
    """Replace the workers, one after the other; no connection is refused.

    Each old one stops when it has answered what it has accepted, then the new one starts. A single one leaves
    connections waiting meanwhile, which --overlap avoids: if the new one fails, the old one stays. After a failure
    this is one more attempt to initialize. Exit code: 0 serving again, 3 it failed, 1 not yet.
    """
    client = client_of(run_dir)
    ticket = client.restart(worker or 0, overlap, force)
    if no_wait:
        click.echo("Restart requested.")
        return 0
    return _await_restart(client, ticket, timeout)


@click.command("stop")
@run_dir_option
@timeout_option
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
def stop_command(run_dir: str | None, timeout: float | None, no_wait: bool) -> int:
    """End the supervisor and everything that it runs, gracefully."""
    client = client_of(run_dir)
    pid = int(client.status()["pid"])
    process = watched(pid)
    client.stop()
    if no_wait or process is None:
        click.echo(f"Stop requested (pid {pid}).")
        return 0
    poller = select.poll()
    poller.register(process, select.POLLIN)
    if not poller.poll(None if timeout is None else min(timeout * 1000, 2**31 - 1)):
        click.echo(f"The supervisor (pid {pid}) is still stopping after {timeout:g} s.", err=True)
        return 1
    click.echo(f"Stopped (pid {pid}).")
    return 0


def _await_restart(client: "Client", ticket: int, timeout: float | None) -> int:
    """Wait until the restart with number `ticket` has come to an end; say how far it is now and then."""
    began = time.monotonic()
    status = client.status()
    while not _is_settled(status, ticket):
        passed = time.monotonic() - began
        if timeout is not None and passed >= timeout:
            click.echo(f"Not ready after {timeout:g} s; the restart goes on.", err=True)
            return 1
        left = PROGRESS_EVERY if timeout is None else min(PROGRESS_EVERY, timeout - passed)
        newer = client.wait(status["serial"], left)
        if newer["serial"] == status["serial"]:
            click.echo(f"{_progress(newer)}, {time.monotonic() - began:.0f} s ...", err=True)
        status = newer
    return _restart_result(status, time.monotonic() - began)


def _progress(status: dict[str, Any]) -> str:
    if status["phase"] == "serving":
        return f"serving, {status['replacing']} of {status['workers']} workers to be replaced"
    return f"{status['phase']}, stage {status['stage']}" if status["stage"] else str(status["phase"])


def _is_settled(status: dict[str, Any], ticket: int) -> bool:
    begun = status["restarts"]["request"] >= ticket
    if not begun or status["phase"] not in ("serving", "failed", "stopping"):
        return False
    return bool(status["restart_failure"]) or not (status["workers_coming"] or status["replacing"])


def _restart_result(status: dict[str, Any], seconds: float) -> int:
    ready = f"{status['workers_ready']} of {status['workers']} workers ready"
    if status["phase"] == "serving" and status["restart_failure"]:
        error = status["restart_failure"]["error"]
        click.echo(f"The restart failed after {seconds:.1f} s: {error}\nStill serving: {ready}.", err=True)
        return ExitCode.INIT_FAILED
    if status["phase"] == "serving":
        click.echo(f"Serving again after {seconds:.1f} s: {ready}.")
        return 0
    error = status["failure"]["error"] if status["failure"] else "the supervisor is stopping"
    click.echo(f"The restart failed after {seconds:.1f} s: {error}", err=True)
    return ExitCode.INIT_FAILED


def _failure(given: str | None) -> FailureReport | None:
    if given and not is_running(Path(given)):
        report = read_failure(Path(given) / "failure.json")
        if report is None:
            raise UsageError(f"No supervisor runs in {given}, and there is no failure report there.")
        return report
    failure = client_of(given).status()["failure"]
    return FailureReport.from_json(failure) if failure else None
