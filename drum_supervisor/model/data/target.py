"""What a model predicts: its target type and, for classification, the class labels."""

from dataclasses import dataclass
from enum import Enum


class TargetType(str, Enum):
    """The supported target types. Hooks receive one as `target_type`, hence the `str`."""

    BINARY = "binary"
    REGRESSION = "regression"
    ANOMALY = "anomaly"
    MULTICLASS = "multiclass"
    UNSTRUCTURED = "unstructured"


@dataclass(frozen=True)
class Target:
    type: TargetType
    labels: tuple[str, ...] = ()  # binary: the positive, then the negative one; multiclass: all

    @property
    def is_structured(self) -> bool:
        return self.type is not TargetType.UNSTRUCTURED
