"""How a setting is declared, found in the environment, and parsed. The settings themselves are in `settings.py`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from drum_supervisor.config import parsers
from drum_supervisor.contract.exits import UsageError

PREFIX = "DRUM_SUPERVISOR_"


class Declaration(NamedTuple):
    """One setting as a user writes it; `off` is the option that turns a switch off."""

    name: str
    default: str
    parse: Callable[[str], Any]
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
    """The text of a setting and its source: `flag`, `default`, a profile, a file's path or `$VARIABLE`."""

    text: str
    source: str


def setting(
    default: str,
    help: str,
    parse: Callable[[str], Any] = parsers.text,
    *,
    metavar: str = "",
    variables: Sequence[str] = (),
    off: str = "",
) -> Any:
    return field(metadata={"declaration": (default, parse, help, metavar, tuple(variables), off)})


def read_environment(declarations: Mapping[str, Declaration], environ: Mapping[str, str]) -> dict[str, Value]:
    found = {name: find_variable(declared.all_variables, environ) for name, declared in declarations.items()}
    return {name: value for name, value in found.items() if value is not None}


def find_variable(variables: Iterable[str], environ: Mapping[str, str]) -> Value | None:
    """Return the first variable that is set; empty ones count as unset, as in DRUM."""
    for variable in variables:
        text = environ.get(variable, "")
        if variable.startswith(parsers.RUNTIME_PARAMETER_PREFIX):
            text = parsers.parse_runtime_parameter(text)
        if text.strip():
            return Value(text, f"${variable}")
    return None


def convert(declared: Declaration, value: Value) -> Any:
    """Parse the text of a setting; raise UsageError with the option, the text, its source and what is accepted."""
    if not value.text and declared.default == "":
        return declared.parse("") if declared.parse is parsers.words else ""
    source = "" if value.source in ("flag", "default") else f" (from {value.source})"
    try:
        return declared.parse(value.text)
    except ValueError as error:
        raise UsageError(f"{declared.option}: {value.text!r}{source} is not accepted: {error}.") from error
    except UsageError as error:
        raise UsageError(f"{declared.option}{source}: {error}") from error
