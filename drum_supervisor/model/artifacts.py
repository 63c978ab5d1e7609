"""Artifacts: model files that are loaded by their framework when `custom.py` defines no `load_model`."""

from pathlib import Path
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import estimators, onnx_models
from drum_supervisor.model.data.target import Target

ACCEPTED = "one artifact (.pkl, .joblib, .onnx)"

_LOADERS = {".pkl": estimators.load, ".joblib": estimators.load, ".onnx": onnx_models.load}

# Files that DRUM, or the framework itself, treats as a model.
_UNSUPPORTED = {
    ".h5": "a Keras model",
    ".keras": "a Keras model",
    ".pth": "a PyTorch model",
    ".pt": "a PyTorch model",
    ".safetensors": "a file of weights",
    ".pmml": "a PMML model",
    ".rds": "an R model",
    ".jar": "a Java model",
    ".java": "a Java model",
    ".mojo": "an H2O model",
}


def find_artifact(code_dir: Path) -> Path | None:
    """Return the artifact in `code_dir` itself, not below it, as DRUM does.

    More than one, and only unsupported ones, are a `UsageError`.
    """
    files = sorted(path for path in code_dir.iterdir() if not path.name.startswith(".") and path.is_file())
    found = [path for path in files if path.suffix.lower() in _LOADERS]
    if len(found) > 1:
        raise UsageError(
            f"More than one artifact: {str(found[0])!r} and {str(found[1])!r}; keep only one, or define "
            "load_model(code_dir) in custom.py."
        )
    unsupported = [path for path in files if path.suffix.lower() in _UNSUPPORTED]
    if unsupported and not found:
        path = unsupported[0]
        raise UsageError(
            f"{str(path)!r} is {_UNSUPPORTED[path.suffix.lower()]}, which the built-in model server does not load "
            "by itself: load it in load_model(code_dir) of custom.py, or run DRUM: --server-type drum."
        )
    return found[0] if found else None


def load_artifact(path: Path) -> Any:
    """Return the model in `path`, a file that `find_artifact` returned; a missing framework is a `UsageError`."""
    return _LOADERS[path.suffix.lower()](path)


def make_predictor(artifact: Any, target: Target) -> "estimators.Estimator | onnx_models.OnnxModel":
    """Return a predictor for `artifact`; one that cannot predict the target is a `UsageError`."""
    if onnx_models.is_session(artifact):
        return onnx_models.OnnxModel(artifact, target)
    return estimators.Estimator(artifact, target)
