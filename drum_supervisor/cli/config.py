"""`drum-supervise config`: the effective settings with their sources, and what supervisord gets."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from drum_supervisor.cli.options import choose_values, settings_options
from drum_supervisor.cli.target import json_option
from drum_supervisor.config.settings import DECLARATIONS, Settings, resolve


@click.command("config", params=settings_options(), context_settings={"allow_interspersed_args": False})
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def config_command(command: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Print the effective settings with their sources.

    Also prints the supervisord configuration rendered from them.
    """
    values = choose_values(given, command)
    settings = resolve(values)
    if as_json:
        sources = {name: {"value": value.text, "source": value.source} for name, value in values.items()}
        click.echo(json.dumps({"settings": sources, "supervisord": _render(settings, command)}, indent=2))
        return 0
    width = max(len(declared.option) for declared in DECLARATIONS.values())
    for name, value in values.items():
        click.echo(f"{DECLARATIONS[name].option:{width}}  {value.text or '-'}  ({value.source})")
    click.echo(f"\n{_render(settings, command)}")
    return 0


def _render(settings: Settings, command: Sequence[str]) -> str:
    from drum_supervisor.contract.masking import mask_secrets
    from drum_supervisor.supervise.host.run_dir import RunDir, base_directory
    from drum_supervisor.supervise.programs.launch import plan_launch

    launch = plan_launch(settings, command, os.environ)
    for warning in launch.extra.warnings:
        click.echo(f"drum-supervise: {warning}", err=True)
    run_dir = RunDir(Path(settings.run_dir) if settings.run_dir else base_directory(os.environ) / "PID")
    return mask_secrets(launch.configuration(launch.programs(settings.address, run_dir), run_dir))
