"""Finding the user's code, `custom.py` above all: anywhere below the code directory, each file once."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from drum_supervisor.contract.exits import UsageError

SOURCE = "custom.py"

_ENVIRONMENT_MARKS = ("pyvenv.cfg", "conda-meta")


def open_code_dir(code_dir: str) -> Path:
    """Return the code directory as an absolute path.

    Raises:
        UsageError: not set, not there, not a directory, not readable, or empty.
    """
    if not code_dir:
        raise UsageError(f"No code directory: give --code-dir or set CODE_DIR to the folder with {SOURCE}.")
    path = Path(code_dir).absolute()
    try:
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except FileNotFoundError:
        raise UsageError(f"Code directory {str(path)!r} does not exist; give the folder with {SOURCE}.") from None
    except NotADirectoryError:
        raise UsageError(f"Code directory {str(path)!r} is not a directory; give the folder with {SOURCE}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"Code directory {str(path)!r} cannot be read: {reason}.") from error
    if is_empty:
        raise UsageError(f"Code directory {str(path)!r} is empty; put {SOURCE} and the model's files into it.")
    return path


def find_file(code_dir: Path, name: str) -> Path | None:
    """Return the one file `name` below `code_dir`; None if there is none.

    Raises:
        UsageError: there is more than one.
    """
    found = _files_below(code_dir, name)
    if len(found) > 1:
        first, second = (str(path) for path in found[:2])
        raise UsageError(f"More than one {name}: {first!r} and {second!r}; leave the one that is meant.")
    return found[0] if found else None


def _files_below(code_dir: Path, name: str) -> list[Path]:
    """Follow links to directories, each directory once: a link may lead back up, or to a place already seen."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for directory, folders, files in os.walk(code_dir, followlinks=True):
        real = os.path.realpath(directory)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(folder for folder in folders if not _is_skipped(Path(directory, folder)))
        path = Path(directory, name)
        if name in files and path.is_file():
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _is_skipped(folder: Path) -> bool:
    """Whether no user code is looked for in `folder`: hidden, a cache, a virtual environment."""
    if folder.name.startswith(".") or folder.name == "__pycache__":
        return True
    return any((folder / mark).exists() for mark in _ENVIRONMENT_MARKS)


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
