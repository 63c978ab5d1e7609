"""What the commands for operators share: their options, and how the supervisor that is meant is found."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drum_supervisor.config import parsers
from drum_supervisor.contract.exits import UsageError

if TYPE_CHECKING:
    from drum_supervisor.contract.control_client import Client

run_dir_option = click.option(
    "--run-dir",
    envvar="DRUM_SUPERVISOR_RUN_DIR",
    metavar="DIR",
    help="Run directory of the supervisor; needed when several run.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def seconds(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    """Read the value of an option that is a time."""
    try:
        return None if text is None else parsers.seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not accepted: {error}.") from error


def watched(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends; None where the kernel has none (before 5.3)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def client_of(given: str | None) -> "Client":
    """Return the client for the supervisor that is meant."""
    from drum_supervisor.contract.control_client import Client

    return Client(find(given) / "supervisor.sock")


def find(given: str | None) -> Path:
    from drum_supervisor.supervise.host.run_dir import find_running

    if given:
        if not is_running(Path(given)):
            raise UsageError(f"No supervisor runs in {given}.")
        return Path(given)
    found = [directory.path for directory in find_running(os.environ)]
    if not found:
        raise UsageError(
            "No running supervisor of this user was found. If it was started with --run-dir, give the same here."
        )
    if len(found) > 1:
        listed = "".join(f"\n  {path}  {_address(path)}" for path in found)
        raise UsageError(f"Several supervisors run; choose one with --run-dir:{listed}")
    return found[0]


def is_running(path: Path) -> bool:
    from drum_supervisor.supervise.host.run_dir import is_running

    return is_running(path)


def _address(path: Path) -> str:
    try:
        return (path / "address").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
