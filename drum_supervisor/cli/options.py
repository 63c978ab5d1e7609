"""The options that set something, made from the declarations of the settings, for each command that has them."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import click

from drum_supervisor.config.declaration import Declaration, Value
from drum_supervisor.config.settings import DECLARATIONS, choose


def settings_options() -> list[click.Parameter]:
    """Return an option for each setting, in a list of its own: the arguments of a command follow them."""
    return list(_options())


@cache
def _options() -> tuple[click.Option, ...]:
    """All commands share them: to make so many takes click 4 ms, which a model server would wait for each time."""
    return tuple(_option(declared) for declared in DECLARATIONS.values())


def _option(declared: Declaration) -> click.Option:
    return click.Option(
        [f"{declared.option}/{declared.off}" if declared.off else declared.option, declared.name],
        default=None,
        type=bool if declared.off else str,
        metavar=None if declared.off else declared.metavar,
        help=_help(declared),
    )


def _help(declared: Declaration) -> str:
    facts = [f"default: {declared.default}"] if declared.default else []
    if declared.variables:
        facts.append(f"also from: {', '.join(declared.variables)}")
    return f"{declared.help}  [{'; '.join(facts)}]" if facts else declared.help


def chosen(given: Mapping[str, Any], command: Sequence[str]) -> dict[str, Value]:
    """Return what was chosen, from the command line, DRUM's own options included, and everywhere else."""
    from drum_supervisor.supervise.programs.command import read_drum_options

    flags = {name: _text(value) for name, value in given.items() if value is not None}
    return choose({**read_drum_options(command), **flags}, os.environ)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_arguments(flags: Mapping[str, str]) -> list[str]:
    """Return the arguments that say the same as these flags."""
    return [argument for name, text in flags.items() for argument in _as_argument(DECLARATIONS[name], text)]


def _as_argument(declared: Declaration, text: str) -> list[str]:
    if not declared.off:
        return [declared.option, text]
    return [declared.option if declared.read(text) else declared.off]
