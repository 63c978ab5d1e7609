"""Models with scikit-learn's interface, XGBoost's and LightGBM's included. The only module that imports joblib."""

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.errors import ResultError
from drum_supervisor.model.data.labels import match_labels
from drum_supervisor.model.data.target import Target

if TYPE_CHECKING:
    import pandas as pd

# Packages whose name differs from their module's.
_PACKAGES = {"sklearn": "scikit-learn"}


def load(path: Path) -> Any:
    """Return the object in a file written by joblib or pickle; a missing package is a `UsageError`."""
    try:
        return _unpickle(path)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or find_spec(module) is not None:  # installed, but this version lacks a submodule
            raise
        raise UsageError(
            f"{str(path)!r} needs the package {module!r}, which is not installed: "
            f"pip install {_PACKAGES.get(module, module)}"
        ) from error


def _unpickle(path: Path) -> Any:
    try:
        import joblib  # noqa: PLC0415
    except ModuleNotFoundError:
        if path.suffix.lower() != ".pkl":
            raise
        with open(path, "rb") as file:
            return pickle.load(file)
    return joblib.load(path)  # reads plain pickles too; pickle cannot read joblib's arrays


class Estimator:
    """Predicts with `predict_proba` if the target has class labels, else with `predict`.

    As in DRUM 1.18.1, anomalies are the values of `predict`: 1 and -1 from scikit-learn's detectors.
    """

    name = "scikit-learn"

    def __init__(self, model: Any, target: Target) -> None:
        self._model = model
        self._method = "predict_proba" if target.labels else "predict"
        if not callable(getattr(model, self._method, None)):
            raise UsageError(
                f"custom.py defines no score(data, model), and the model ({type(model).__name__}) has no "
                f"{self._method}(): define score."
            )
        self._columns = match_labels(getattr(model, "classes_", None), target) if target.labels else ()

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame":
        result = getattr(self._model, self._method)(table)
        return to_table(result, self._columns, f"{self._method}()")


def to_table(result: Any, columns: tuple[str, ...], origin: str) -> "pd.DataFrame":
    """Return a model's result as a table with `columns`, by default with the one column of numbers.

    A result of another width is a `ResultError` that names its `origin`.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    values = np.asarray(result)
    values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    names = columns or ("Predictions",)
    if values.shape[1] != len(names):
        raise ResultError(f"Expected {len(names)} columns from {origin} of the model, but got {values.shape[1]}.")
    return pd.DataFrame(values, columns=list(names))
