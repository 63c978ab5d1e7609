"""Importing the user's files, wherever they are, under the names by which users' code and pickles know them."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from drum_supervisor.contract.exits import UsageError


def import_file(path: Path, name: str) -> ModuleType:
    """Import `path` as the module `name`.

    Raises:
        UsageError: it is no Python module.
        BaseException: whatever the module raises.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is no Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def search_first(folder: Path) -> None:
    """Let modules in `folder` be found before all others."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))
