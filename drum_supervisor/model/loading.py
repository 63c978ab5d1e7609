"""Initialization of the user's model: from settings to a model that can predict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import datarobot_drum_shim
from drum_supervisor.model.artifacts import ACCEPTED, find_artifact, load_artifact, make_predictor
from drum_supervisor.model.hooks import Hooks, import_hooks
from drum_supervisor.model.metadata import read_metadata, read_target
from drum_supervisor.model.model import Model, import_structured
from drum_supervisor.model.source import CUSTOM_PY, find_file, open_code_dir, prepend_to_sys_path

IMPORTING, INIT, LOAD_MODEL = "importing", "init", "load_model"


def load(settings: Settings, on_stage: Callable[[str], None]) -> Model:
    """Find, import and initialize the model in `settings.code_dir`.

    Args:
        on_stage: called before each stage: `importing` (with a `custom.py`), `init` (with that hook), `load_model`.

    Raises:
        UsageError: a mistake of the user; the text says what to do.
        BaseException: whatever the user's code raises; the last reported stage says where.
    """
    code_dir = open_code_dir(settings.code_dir)
    metadata = read_metadata(code_dir)
    target = read_target(settings, metadata)
    datarobot_drum_shim.install()
    source = find_file(code_dir, CUSTOM_PY)
    hooks = _import_hooks(source, code_dir, on_stage)
    # Missing parts are reported before the model is loaded, which may take minutes.
    path = None if LOAD_MODEL in hooks else _require_artifact(code_dir, source, target.is_structured)
    if target.is_structured:
        import_structured()
    else:
        _require_score_unstructured(hooks, source, code_dir)
    if INIT in hooks:
        on_stage(INIT)
        hooks.call(INIT, code_dir=str(code_dir))
    on_stage(LOAD_MODEL)
    artifact = load_artifact(path) if path is not None else _call_load_model(hooks, code_dir, source)
    predictor = make_predictor(artifact, target) if target.is_structured and "score" not in hooks else None
    return Model(code_dir, target, hooks, artifact, metadata, predictor)


def _import_hooks(source: Path | None, code_dir: Path, on_stage: Callable[[str], None]) -> Hooks:
    if source is None:
        prepend_to_sys_path(code_dir)  # an artifact may need modules in its folder
        return Hooks({})
    on_stage(IMPORTING)
    return import_hooks(source)


def _require_artifact(code_dir: Path, source: Path | None, is_structured: bool) -> Path:
    path = find_artifact(code_dir)
    if path is not None:
        return path
    if source is not None:
        raise UsageError(
            f"{str(source)!r} defines no load_model(code_dir), and {str(code_dir)!r} has no artifact: define it, or "
            f"put {ACCEPTED} there."
        )
    score = "score(data, model)" if is_structured else "score_unstructured(model, data, **kwargs)"
    instead = f", or put {ACCEPTED} there" if is_structured else ""
    raise UsageError(
        f"No {CUSTOM_PY} in or below {str(code_dir)!r}; write one with load_model(code_dir) and {score}{instead}."
    )


def _require_score_unstructured(hooks: Hooks, source: Path | None, code_dir: Path) -> None:
    if "score_unstructured" not in hooks:
        where = f"{str(source)!r} defines" if source is not None else f"Without {CUSTOM_PY} {str(code_dir)!r} has"
        raise UsageError(f"{where} no score_unstructured(model, data, **kwargs), which target type unstructured needs.")


def _call_load_model(hooks: Hooks, code_dir: Path, source: Path | None) -> Any:
    artifact = hooks.call(LOAD_MODEL, str(code_dir))
    if artifact is None:
        raise UsageError(f"load_model in {str(source)!r} returned None; return the model that the hooks work with.")
    return artifact
