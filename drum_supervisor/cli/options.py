"""Click options for all settings, made from their declarations, and the settings chosen with them."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import click

from drum_supervisor.config.declaration import Declaration, Value
from drum_supervisor.config.settings import DECLARATIONS, choose


def settings_options() -> list[click.Parameter]:
    return list(_options())  # a new list: click appends the arguments of the command


@cache
def _options() -> tuple[click.Option, ...]:
    # All commands share them: making them takes click 4 ms, which would delay each start of a model server.
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


def choose_values(given: Mapping[str, Any], command: Sequence[str]) -> dict[str, Value]:
    """Return the value of every setting, from flags, the options of a `drum server` command and all other sources."""
    from drum_supervisor.supervise.programs.command import read_drum_options

    flags = {name: _text(value) for name, value in given.items() if value is not None}
    return choose({**read_drum_options(command), **flags}, os.environ)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_arguments(flags: Mapping[str, str]) -> list[str]:
    """Return the command line arguments for these settings, given by name."""
    return [argument for name, text in flags.items() for argument in _to_argument(DECLARATIONS[name], text)]


def _to_argument(declared: Declaration, text: str) -> list[str]:
    if not declared.off:
        return [declared.option, text]
    return [declared.option if declared.parse(text) else declared.off]
