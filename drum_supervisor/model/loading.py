"""Initialization of the user's model: from the settings to a model that predicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import datarobot_drum_shim
from drum_supervisor.model.artifacts import ACCEPTED, Predictor, find_artifact, load_artifact, predictor_of
from drum_supervisor.model.hooks import Hooks, import_hooks
from drum_supervisor.model.metadata import read_metadata
from drum_supervisor.model.model import Model, import_structured
from drum_supervisor.model.source import SOURCE, find_file, open_code_dir, search_first
from drum_supervisor.model.target import Target, read_target

IMPORTING, INIT, LOAD_MODEL = "importing", "init", "load_model"


def load(settings: Settings, on_stage: Callable[[str], None]) -> Model:
    """Find, import and initialize the model in `settings.code_dir`.

    Args:
        settings: names the folder, the target type and the class labels.
        on_stage: told the name of each stage before it begins: importing (if there is a `custom.py`), init (if there
            is such a hook), load_model.

    Raises:
        UsageError: a mistake of the user, in a sentence that says what to do.
        BaseException: whatever the user's code raises, as it is; the last stage told says where.
    """
    code_dir = open_code_dir(settings.code_dir)
    metadata = read_metadata(code_dir)
    target = read_target(settings, metadata)
    datarobot_drum_shim.offer()
    source = find_file(code_dir, SOURCE)
    hooks = _hooks(source, code_dir, on_stage)
    path = None if LOAD_MODEL in hooks else _artifact(code_dir, source, target)
    _check(hooks, target, source, code_dir)
    if target.is_structured:
        import_structured()
    if INIT in hooks:
        on_stage(INIT)
        hooks.call(INIT, code_dir=str(code_dir))
    on_stage(LOAD_MODEL)
    artifact = load_artifact(path) if path is not None else _loaded(hooks, code_dir, source)
    return Model(code_dir, target, hooks, artifact, metadata, _predictor(hooks, artifact, target))


def _hooks(source: Path | None, code_dir: Path, on_stage: Callable[[str], None]) -> Hooks:
    if source is None:
        search_first(code_dir)  # an artifact may need modules beside it
        return Hooks({})
    on_stage(IMPORTING)
    return import_hooks(source)


def _artifact(code_dir: Path, source: Path | None, target: Target) -> Path:
    path = find_artifact(code_dir)
    if path is not None:
        return path
    if source is not None:
        raise UsageError(
            f"{str(source)!r} defines no load_model(code_dir), and {str(code_dir)!r} has no artifact: define it, or "
            f"put {ACCEPTED} there."
        )
    score = "score(data, model)" if target.is_structured else "score_unstructured(model, data, **kwargs)"
    instead = f", or put {ACCEPTED} there" if target.is_structured else ""
    raise UsageError(
        f"No {SOURCE} in or below {str(code_dir)!r}; write one with load_model(code_dir) and {score}{instead}."
    )


def _check(hooks: Hooks, target: Target, source: Path | None, code_dir: Path) -> None:
    """What is needed for every request must be there before a model is loaded, which may take minutes."""
    if not target.is_structured and "score_unstructured" not in hooks:
        where = f"{str(source)!r} defines" if source is not None else f"Without {SOURCE} {str(code_dir)!r} has"
        raise UsageError(f"{where} no score_unstructured(model, data, **kwargs), which target type unstructured needs.")


def _loaded(hooks: Hooks, code_dir: Path, source: Path | None) -> Any:
    artifact = hooks.call(LOAD_MODEL, str(code_dir))
    if artifact is None:
        raise UsageError(f"load_model in {str(source)!r} returned None; return the model that the hooks work with.")
    return artifact


def _predictor(hooks: Hooks, artifact: Any, target: Target) -> Predictor | None:
    return predictor_of(artifact, target) if target.is_structured and "score" not in hooks else None
