"""The hooks that `custom.py` defines, and the predictor that replaces a missing `score` hook."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.source import import_file, prepend_to_sys_path

if TYPE_CHECKING:
    import pandas as pd

HOOKS = ("init", "load_model", "read_input_data", "transform", "score", "post_process", "score_unstructured")

# User code and pickles refer to their module by this name.
_MODULE = "custom"


class Predictor(Protocol):
    """Predicts with an artifact when there is no `score` hook; `name` is the framework's name in DRUM's `/info`."""

    name: str

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame": ...


@dataclass(frozen=True)
class Hooks:
    """The defined hooks, by name."""

    functions: Mapping[str, Callable[..., Any]]

    def __contains__(self, name: str) -> bool:
        return name in self.functions

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call the hook `name` with those of `options` that it has a parameter for, or all if it takes `**kwargs`."""
        hook = self.functions[name]
        return hook(*arguments, **_select_accepted(hook, options))


def import_hooks(source: Path) -> Hooks:
    """Import `source`, with its folder first on `sys.path`; what the user's module raises is passed on."""
    prepend_to_sys_path(source.parent)
    return _find_hooks(import_file(source, _MODULE), source)


def _find_hooks(module: ModuleType, source: Path) -> Hooks:
    named = {name: getattr(module, name, None) for name in HOOKS}
    functions = {name: value for name, value in named.items() if value is not None}
    for name, value in functions.items():
        if not callable(value):
            raise UsageError(f"{name} in {str(source)!r} is a {type(value).__name__}; make it a function.")
    return Hooks(functions)


def _select_accepted(hook: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    if not options:
        return {}
    try:
        parameters = inspect.signature(hook).parameters.values()
    except (TypeError, ValueError):  # compiled functions may have no signature
        return dict(options)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(options)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters if parameter.kind in by_name}
    return {name: value for name, value in options.items() if name in names}
