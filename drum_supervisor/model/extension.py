"""The user's extension of the application: `init_app(app)` in `custom_flask.py` or `custom_fastapi.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.source import find_file, import_file

INIT_APP = "init_app"


def extend(app: Any, framework: str, code_dir: Path, on_stage: Callable[[str], None]) -> bool:
    """Let `custom_<framework>.py`, if there is one below `code_dir`, extend `app`; return whether there is one.

    Args:
        app: before it serves, with nothing around it yet that the user's code should not get behind.
        framework: `flask` or `fastapi`.
        code_dir: the model folder.
        on_stage: told `init_app` before the user's file is imported.

    Raises:
        UsageError: there is more than one, or it has no such function.
        BaseException: whatever the user's code raises.
    """
    source = find_file(code_dir, f"custom_{framework}.py")
    if source is None:
        return False
    on_stage(INIT_APP)
    init_app = getattr(_imported(source), INIT_APP, None)
    if not callable(init_app):
        raise UsageError(
            f"{str(source)!r} defines no function init_app(app); it gets the application before it serves."
        )
    init_app(app)
    return True


def _imported(source: Path) -> ModuleType:
    """Import `source`, unless `custom.py` has done so."""
    folder = str(source.parent)
    if folder not in sys.path:
        sys.path.insert(1, folder)  # custom.py's comes first
    module = sys.modules.get(source.stem)
    if module is not None and getattr(module, "__file__", None) == str(source):
        return module
    return import_file(source, source.stem)
