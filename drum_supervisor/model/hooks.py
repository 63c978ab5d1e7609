"""The hooks that a `custom.py` defines, and calling them with the arguments they accept."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.source import import_file, search_first

HOOKS = ("init", "load_model", "read_input_data", "transform", "score", "post_process", "score_unstructured")

# The name under which users' code and pickles know their own module.
_MODULE = "custom"


@dataclass(frozen=True)
class Hooks:
    """The hooks that are defined, by name."""

    functions: Mapping[str, Callable[..., Any]]

    def __contains__(self, name: str) -> bool:
        return name in self.functions

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the hook `name`; of `options` it gets those it has a parameter for, all with a `**kwargs`."""
        hook = self.functions[name]
        return hook(*arguments, **_accepted(hook, options))


def import_hooks(source: Path) -> Hooks:
    """Import `source`, its folder first on `sys.path`, and return its hooks.

    Raises:
        UsageError: something with a hook's name is no function.
        BaseException: whatever the user's module raises.
    """
    search_first(source.parent)
    return hooks_of(import_file(source, _MODULE), source)


def hooks_of(module: ModuleType, source: Path) -> Hooks:
    """Return the hooks in `module`, which was imported from `source`.

    Raises:
        UsageError: something with a hook's name is no function.
    """
    named = {name: getattr(module, name, None) for name in HOOKS}
    functions = {name: value for name, value in named.items() if value is not None}
    for name, value in functions.items():
        if not callable(value):
            raise UsageError(f"{name} in {str(source)!r} is a {type(value).__name__}; make it a function.")
    return Hooks(functions)


def _accepted(hook: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # compiled functions may not tell their signature
        return dict(options)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(options)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    return {name: value for name, value in options.items() if name in names}
