"""Estimators: models in the way of scikit-learn, XGBoost's and LightGBM's too. The one place for joblib."""

import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.labels import labels_of
from drum_supervisor.model.errors import ResultError
from drum_supervisor.model.target import Target

if TYPE_CHECKING:
    import pandas as pd

# Packages that are not called like their module.
_PACKAGES = {"sklearn": "scikit-learn"}


def load(path: Path) -> Any:
    """Return the object in a file that joblib or pickle has written.

    Raises:
        UsageError: a package that it needs is not installed.
        BaseException: whatever the object's classes raise.
    """
    try:
        return _unpickled(path)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not module or find_spec(module) is not None:  # another version of it lacks a part
            raise
        raise UsageError(
            f"{str(path)!r} needs the package {module!r}, which is not installed: "
            f"pip install {_PACKAGES.get(module, module)}"
        ) from error


def _unpickled(path: Path) -> Any:
    try:
        import joblib  # noqa: PLC0415
    except ModuleNotFoundError:
        if path.suffix.lower() != ".pkl":
            raise
        with open(path, "rb") as file:
            return pickle.load(file)
    return joblib.load(path)  # plain pickles too; pickle reads no arrays that joblib has written


class Estimator:
    """Predicts with `predict_proba` where there are class labels, else with `predict`.

    Anomalies are what `predict` says too, as in DRUM 1.18.1: 1 and -1 from scikit-learn's detectors.

    Raises:
        UsageError: the model lacks the method, or its classes are not the labels.
    """

    name = "scikit-learn"

    def __init__(self, model: Any, target: Target) -> None:
        self._model = model
        self._method = "predict_proba" if target.labels else "predict"
        if not callable(getattr(model, self._method, None)):
            raise UsageError(
                f"There is no score(data, model), and the model ({type(model).__name__}) has no {self._method}() to "
                "do without: define score in custom.py."
            )
        self._columns = labels_of(getattr(model, "classes_", None), target) if target.labels else ()

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return a column for each label, or the one of numbers.

        Raises:
            ResultError: the model returned something of another shape.
            BaseException: whatever the model raises.
        """
        result = getattr(self._model, self._method)(table)
        return shaped(result, self._columns, f"{self._method}()")


def shaped(result: Any, columns: tuple[str, ...], what: str) -> "pd.DataFrame":
    """Return what a model has returned as a table with these columns; without columns as one of numbers.

    Raises:
        ResultError: there are more or fewer columns in it.
    """
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    values = np.asarray(result)
    values = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    names = columns or ("Predictions",)
    if values.shape[1] != len(names):
        raise ResultError(f"Expected {len(names)} columns from {what} of the model, but there are {values.shape[1]}.")
    return pd.DataFrame(values, columns=list(names))
