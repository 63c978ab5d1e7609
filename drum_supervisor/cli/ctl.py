"""`drum-supervise ctl`: supervisorctl, with the configuration of the running supervisor."""

import os
import sys
from typing import NoReturn

import click

from drum_supervisor.cli.target import find_run_dir, run_dir_option


@click.command("ctl", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@run_dir_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def ctl_command(run_dir: str | None, arguments: tuple[str, ...]) -> NoReturn:
    """Run supervisorctl with the address filled in.

    For example `ctl status`, `ctl tail -f model-server`, or `ctl` alone for its shell.
    """
    configuration = find_run_dir(run_dir) / "supervisord.conf"
    argv = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(configuration), *arguments]
    os.execv(sys.executable, argv)
