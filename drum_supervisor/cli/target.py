"""The running supervisor that a command talks to: how it is found, its client, and the options for it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from drum_supervisor.config import parsers
from drum_supervisor.contract.exits import UsageError

if TYPE_CHECKING:
    from drum_supervisor.contract.control_client import ControlClient

PROGRESS_INTERVAL = 5.0  # seconds between the progress lines of a command that waits

run_dir_option = click.option(
    "--run-dir",
    envvar="DRUM_SUPERVISOR_RUN_DIR",
    metavar="DIR",
    help="Run directory of the supervisor. Needed when several supervisors run.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_schema_option = click.option(
    "--json-schema", "schema", is_flag=True, help="Print the JSON Schema of --json instead; no supervisor is needed."
)


def parse_seconds(context: click.Context, option: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parsers.seconds(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not accepted: {error}.") from error


def print_json_schema(record: Any, title: str, sometimes: Mapping[str, Any] = MappingProxyType({})) -> int:
    from drum_supervisor.contract.json_records import json_schema

    click.echo(json.dumps(json_schema(record, title, sometimes), indent=2))
    return 0


def open_pidfd(pid: int) -> int | None:
    """Return a file descriptor that becomes readable when the process exits; None before Linux 5.3."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def connect(given: str | None) -> "ControlClient":
    """Return a client of the supervisor in this run directory; None: of the one supervisor that runs."""
    from drum_supervisor.contract.control_client import ControlClient

    return ControlClient(find_run_dir(given) / "supervisor.sock")


def find_run_dir(given: str | None) -> Path:
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
