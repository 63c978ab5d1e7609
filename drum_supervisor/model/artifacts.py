"""Artifacts: a model in a file of its own, which its framework loads when there is no `load_model`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import estimators, onnx_models
from drum_supervisor.model.estimators import Estimator
from drum_supervisor.model.onnx_models import OnnxModel, is_session
from drum_supervisor.model.target import Target

_LOADERS = {".pkl": estimators.load, ".joblib": estimators.load, ".onnx": onnx_models.load}

ACCEPTED = "one artifact (.pkl, .joblib, .onnx)"

# What DRUM, or one of these frameworks itself, takes for a model.
_OTHERS = {
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
    """Return the one artifact in `code_dir` itself, as DRUM looks for it; None if there is none.

    Raises:
        UsageError: there is more than one, or one that only other programs load.
    """
    files = sorted(path for path in code_dir.iterdir() if not path.name.startswith(".") and path.is_file())
    found = [path for path in files if path.suffix.lower() in _LOADERS]
    if len(found) > 1:
        raise UsageError(
            f"More than one artifact: {str(found[0])!r} and {str(found[1])!r}; leave the one that is meant, or load it "
            "in load_model(code_dir) of custom.py."
        )
    others = [path for path in files if path.suffix.lower() in _OTHERS]
    if others and not found:
        raise UsageError(
            f"{str(others[0])!r} is {_OTHERS[others[0].suffix.lower()]}, which the built-in model server does not load "
            "by itself: load it in load_model(code_dir) of custom.py, or run DRUM: --server-type drum."
        )
    return found[0] if found else None


def load_artifact(path: Path) -> Any:
    """Return the model in `path`, one of those that `find_artifact` finds.

    Raises:
        UsageError: its framework is not installed.
        BaseException: whatever the framework raises.
    """
    return _LOADERS[path.suffix.lower()](path)


if TYPE_CHECKING:
    import pandas as pd


class Predictor(Protocol):
    """What stands in for the `score` hook.

    Attributes:
        name: of the framework, as DRUM tells it.
    """

    name: str

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame": ...


def predictor_of(artifact: Any, target: Target) -> Predictor:
    """Return what predicts with `artifact`.

    Raises:
        UsageError: nothing can, or its classes are not the labels.
    """
    return OnnxModel(artifact, target) if is_session(artifact) else Estimator(artifact, target)
