"""What predicts when there is no `score` hook: the model itself, in the way of its framework."""

from typing import TYPE_CHECKING, Any, Protocol

from drum_supervisor.model.estimators import Estimator
from drum_supervisor.model.onnx_models import OnnxModel, is_session
from drum_supervisor.model.target import Target

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
