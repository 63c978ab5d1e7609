"""What a setting is: how it is declared, where its text is looked for, and how that is read.

The settings themselves are in `settings.py`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from drum_supervisor.config import ini, parsers
from drum_supervisor.contract.exits import UsageError

PREFIX = "DRUM_SUPERVISOR_"
RUNTIME_PARAMETER = "MLOPS_RUNTIME_PARAM_"
CONFIG_SECTION = "drum-supervise"


class Declaration(NamedTuple):
    """How one setting is written and read; the text of `default` is what a user would write."""

    name: str
    default: str
    read: Callable[[str], Any]
    help: str
    metavar: str
    variables: tuple[str, ...]
    off: str

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def all_variables(self) -> tuple[str, ...]:
        return (PREFIX + self.name.upper(), *self.variables)


class Value(NamedTuple):
    """What was chosen for a setting, and where it comes from: a flag, a variable's name, a file, a profile."""

    text: str
    source: str


def setting(
    default: str,
    help: str,
    read: Callable[[str], Any] = parsers.text,
    *,
    metavar: str = "",
    also: Sequence[str] = (),
    off: str = "",
) -> Any:
    """Return the field of a setting that is declared so; `off` is the option that turns a switch off."""
    return field(metadata={"declaration": (default, read, help, metavar, tuple(also), off)})


def in_environment(declarations: Mapping[str, Declaration], environ: Mapping[str, str]) -> dict[str, Value]:
    """Return what the environment says; empty variables count as unset, as in DRUM."""
    found = {}
    for name, declared in declarations.items():
        for variable in declared.all_variables:
            text = environ.get(variable, "")
            if variable.startswith(RUNTIME_PARAMETER):
                text = runtime_parameter(text)
            if text.strip():
                found[name] = Value(text, f"${variable}")
                break
    return found


def runtime_parameter(text: str) -> str:
    """Return the payload of a DRUM runtime parameter: JSON with `type` and `payload`, or the plain text itself."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(record, dict) and "payload" in record:
        payload = record["payload"]
        return "" if payload is None else str(payload)
    return text


def in_file(declarations: Mapping[str, Declaration], path: str) -> dict[str, Value]:
    """Return what the section of ours in the configuration file says; nothing without one.

    Raises:
        UsageError: it cannot be read, or sets what is no setting.
    """
    sections = ini.read(path, comments=";") if path else []
    ours = next((section for section in sections if section.name == CONFIG_SECTION), None)
    if ours is None:
        return {}
    for written in ours.values:
        name = written.replace("-", "_")
        if name not in declarations or name == "config":
            raise UsageError(
                f"--config: {ours.where(written)} sets {written!r}, which is not a setting that a file can have."
            )
    found = {name.replace("-", "_"): text for name, text in ours.values.items()}
    return {name: Value(text, path) for name, text in found.items() if text}


def converted(declared: Declaration, value: Value) -> Any:
    """Read the text of a setting.

    Raises:
        UsageError: it cannot be read; the sentence names the setting, the value, its source and what is accepted.
    """
    if not value.text and declared.default == "":
        return declared.read("") if declared.read is parsers.words else ""
    try:
        return declared.read(value.text)
    except ValueError as error:
        where = "" if value.source in ("flag", "default") else f" (from {value.source})"
        raise UsageError(f"{declared.option}: {value.text!r}{where} is not accepted: {error}.") from error
    except UsageError as error:
        where = "" if value.source in ("flag", "default") else f" (from {value.source})"
        raise UsageError(f"{declared.option}{where}: {error}") from error
