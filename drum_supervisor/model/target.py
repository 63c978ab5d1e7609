"""What a model predicts: its target type and, for classifications, the class labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from drum_supervisor.config.settings import TARGET_TYPES, Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.metadata import METADATA_FILE


class TargetType(str, Enum):
    """The target types that the built-in model server does; hooks get one, which is equal to its text."""

    BINARY = "binary"
    REGRESSION = "regression"
    ANOMALY = "anomaly"
    MULTICLASS = "multiclass"
    UNSTRUCTURED = "unstructured"


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        type: which kind of prediction.
        labels: of a binary target the positive and the negative label, of a multiclass target all; else empty.
    """

    type: TargetType
    labels: tuple[str, ...] = ()

    @property
    def is_structured(self) -> bool:
        """Whether data and predictions are tables."""
        return self.type is not TargetType.UNSTRUCTURED


def read_target(settings: Settings, metadata: Mapping[str, str]) -> Target:
    """Return the target that the settings name; without a target type there, the one in `model-metadata.yaml`.

    Raises:
        UsageError: no target type, one that is not served here, or labels missing or equal.
    """
    target_type = _target_type(settings.target_type, metadata.get("targetType", ""))
    if target_type is TargetType.BINARY:
        return Target(target_type, _binary_labels(settings))
    if target_type is TargetType.MULTICLASS:
        return Target(target_type, _multiclass_labels(settings))
    return Target(target_type)


def _target_type(setting: str, from_metadata: str) -> TargetType:
    name = (setting or from_metadata).strip().lower()
    served = ", ".join(each.value for each in TargetType)
    if not name:
        raise UsageError(
            f"No target type: give --target-type or set TARGET_TYPE, or write a targetType line into {METADATA_FILE} "
            f"of the code directory; the built-in model server does {served}."
        )
    where = "" if setting else f" (from {METADATA_FILE})"
    if name not in TARGET_TYPES:
        raise UsageError(f"Target type {name!r}{where} is unknown; the built-in model server does {served}.")
    try:
        return TargetType(name)
    except ValueError:
        raise UsageError(
            f"Target type {name!r}{where} is not done by the built-in model server, which does {served}; "
            "run DRUM itself for it: --server-type drum"
        ) from None


def _binary_labels(settings: Settings) -> tuple[str, str]:
    labels = settings.positive_class_label, settings.negative_class_label
    for label, option in zip(labels, ("--positive-class-label", "--negative-class-label"), strict=True):
        if not label:
            raise UsageError(f"Target type binary needs both class labels: give {option}.")
    if labels[0] == labels[1]:
        raise UsageError(f"Target type binary needs two class labels, but both are {labels[0]!r}.")
    return labels


def _multiclass_labels(settings: Settings) -> tuple[str, ...]:
    if settings.class_labels and settings.class_labels_file:
        raise UsageError("Both --class-labels and --class-labels-file are set: give one of them.")
    labels = settings.class_labels
    if settings.class_labels_file:
        labels = _labels_in(Path(settings.class_labels_file))
    if not labels:
        raise UsageError(
            "Target type multiclass needs its class labels: give --class-labels 'a b c', or --class-labels-file with "
            "one label a line."
        )
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated or len(labels) < 2:
        what = f"{repeated[0]!r} is given twice" if repeated else f"only {labels[0]!r} is given"
        raise UsageError(f"Target type multiclass needs at least two different class labels, but {what}.")
    return labels


def _labels_in(path: Path) -> tuple[str, ...]:
    """Return the labels in `path`, one a line; a label may contain spaces, empty lines do not count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--class-labels-file: cannot read {str(path)!r}: {reason}.") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise UsageError(f"--class-labels-file: {str(path)!r} has no labels; write one a line.")
    return labels
