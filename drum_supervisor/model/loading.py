"""Initialization of the user's model: from the settings to a model that predicts."""

from collections.abc import Callable
from pathlib import Path

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.hooks import Hooks, import_hooks
from drum_supervisor.model.metadata import read_metadata
from drum_supervisor.model.model import Model, import_structured
from drum_supervisor.model.source import find_source, open_code_dir
from drum_supervisor.model.target import Target, read_target
from drum_supervisor.settings import Settings

IMPORTING, INIT, LOAD_MODEL = "importing", "init", "load_model"


def load(settings: Settings, on_stage: Callable[[str], None]) -> Model:
    """Find, import and initialize the model in `settings.code_dir`.

    Args:
        settings: names the folder, the target type and the class labels.
        on_stage: told the name of each stage before it begins: importing, init (if there is such a hook), load_model.

    Raises:
        UsageError: a mistake of the user, in a sentence that says what to do.
        BaseException: whatever the user's code raises, as it is; the last stage told says where.
    """
    code_dir = open_code_dir(settings.code_dir)
    metadata = read_metadata(code_dir)
    target = read_target(settings, metadata)
    source = find_source(code_dir)
    on_stage(IMPORTING)
    hooks = import_hooks(source)
    _check(hooks, target, source)
    if target.is_structured:
        import_structured()
    if INIT in hooks:
        on_stage(INIT)
        hooks.call(INIT, code_dir=str(code_dir))
    on_stage(LOAD_MODEL)
    artifact = hooks.call(LOAD_MODEL, str(code_dir))
    if artifact is None:
        raise UsageError(f"load_model in {str(source)!r} returned None; return the model that the hooks work with.")
    return Model(code_dir, target, hooks, artifact, metadata)


def _check(hooks: Hooks, target: Target, source: Path) -> None:
    """Hooks that are needed for every request must be there before a model is loaded, which may take minutes."""
    if target.is_structured and "score" not in hooks:
        raise UsageError(
            f"{str(source)!r} defines no score(data, model), which target type {target.type.value} needs; "
            "it returns a DataFrame of predictions."
        )
    if not target.is_structured and "score_unstructured" not in hooks:
        raise UsageError(
            f"{str(source)!r} defines no score_unstructured(model, data, **kwargs), which target type "
            "unstructured needs."
        )
    if LOAD_MODEL not in hooks:
        raise UsageError(
            f"{str(source)!r} defines no load_model(code_dir), which is needed: artifacts are not loaded without it."
        )
