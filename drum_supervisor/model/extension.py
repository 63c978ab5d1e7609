"""The user's extension of the web application: `init_app(app)` in `custom_flask.py` or `custom_fastapi.py`."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.source import find_file, import_file

INIT_APP = "init_app"


def extend(app: Any, framework: str, code_dir: Path, on_stage: Callable[[str], None]) -> bool:
    """Call `init_app(app)` of `custom_<framework>.py`; return whether there is such a file.

    `app` must not have middleware yet that user code could get behind. `on_stage` is called before the import.
    """
    source = find_file(code_dir, f"custom_{framework}.py")
    if source is None:
        return False
    on_stage(INIT_APP)
    init_app = getattr(_import_once(source), INIT_APP, None)
    if not callable(init_app):
        raise UsageError(
            f"{str(source)!r} must define a function init_app(app), which is called with the application before it "
            "serves."
        )
    init_app(app)
    return True


def _import_once(source: Path) -> ModuleType:
    """Import `source`, unless `custom.py` has already imported it."""
    folder = str(source.parent)
    if folder not in sys.path:
        sys.path.insert(1, folder)  # behind custom.py's folder
    module = sys.modules.get(source.stem)
    if module is not None and getattr(module, "__file__", None) == str(source):
        return module
    return import_file(source, source.stem)
