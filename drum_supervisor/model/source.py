"""The user's source files: finding `custom.py` and its siblings in the code directory, and importing them."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from drum_supervisor.contract.exits import UsageError

CUSTOM_PY = "custom.py"

_ENVIRONMENT_MARKERS = ("pyvenv.cfg", "conda-meta")


def open_code_dir(code_dir: str) -> Path:
    """Return the code directory as an absolute path; it must be readable and not empty."""
    if not code_dir:
        raise UsageError(f"No code directory: give --code-dir or set CODE_DIR to the folder with {CUSTOM_PY}.")
    path = Path(code_dir).absolute()
    try:
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except FileNotFoundError:
        raise UsageError(f"Code directory {str(path)!r} does not exist; give the folder with {CUSTOM_PY}.") from None
    except NotADirectoryError:
        raise UsageError(
            f"Code directory {str(path)!r} is not a directory; give the folder with {CUSTOM_PY}."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"Code directory {str(path)!r} cannot be read: {reason}.") from error
    if is_empty:
        raise UsageError(f"Code directory {str(path)!r} is empty; put {CUSTOM_PY} and the model's files into it.")
    return path


def find_file(code_dir: Path, name: str) -> Path | None:
    """Return the file `name` in or below `code_dir`; finding more than one is a `UsageError`."""
    found = _find_all(code_dir, name)
    if len(found) > 1:
        first, second = (str(path) for path in found[:2])
        raise UsageError(f"More than one {name}: {first!r} and {second!r}; keep only one.")
    return found[0] if found else None


def import_file(path: Path, name: str) -> ModuleType:
    """Import `path` as the module `name`; what the module raises is passed on."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{str(path)!r} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def prepend_to_sys_path(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def _find_all(code_dir: Path, name: str) -> list[Path]:
    # Links are followed (Kubernetes mounts are made of them), each real directory once: a link may lead back up.
    found: dict[str, Path] = {}
    visited: set[str] = set()
    for directory, folders, files in os.walk(code_dir, followlinks=True):
        real = os.path.realpath(directory)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(folder for folder in folders if not _is_skipped(Path(directory, folder)))
        path = Path(directory, name)
        if name in files and path.is_file():
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _is_skipped(folder: Path) -> bool:
    """Whether `folder` is hidden, a cache or a virtual environment."""
    if folder.name.startswith(".") or folder.name == "__pycache__":
        return True
    return any((folder / marker).exists() for marker in _ENVIRONMENT_MARKERS)
