"""Matching a model's classes to labels: classes are numbers, booleans or texts, labels are texts."""

from collections.abc import Iterable
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.target import Target, TargetType


def match_labels(classes: Iterable[Any] | None, target: Target) -> tuple[str, ...]:
    """Return the label of each class, in the order of `classes`.

    A class matches the label with the same spelling or the same numeric value. The two numeric classes of a binary
    model need not be labels, for example 0 and 1: the greater one is the positive class, unless the labels sort the
    other way round. Encoders number classes in sorted order, and DRUM relies on it. Without classes: `label_columns`.
    No match, and an ambiguous one, are a `UsageError`.
    """
    if classes is None:
        return label_columns(target)
    known = list(classes)
    found = tuple(next((label for label in target.labels if is_same_class(each, label)), None) for each in known)
    matched = tuple(label for label in found if label is not None)
    if sorted(matched) == sorted(target.labels) and len(known) == len(matched):
        return matched
    is_numbered = target.type is TargetType.BINARY and len(known) == 2 and all(map(_is_number, known))
    order = label_columns(target)
    if is_numbered and not matched and float(known[0]) < float(known[1]) and order == tuple(sorted(order)):
        return order
    raise UsageError(
        f"The model's classes are {[str(each) for each in known]}, but the class labels are {list(target.labels)}: "
        "spell the labels like the classes, or define score(data, model) in custom.py."
    )


def label_columns(target: Target) -> tuple[str, ...]:
    """Return the labels in the column order of a model that does not name its classes.

    Binary: the negative label first, because it is class 0; multiclass: in the given order.
    """
    return target.labels[::-1] if target.type is TargetType.BINARY else target.labels


def is_same_class(value: Any, label: str) -> bool:
    if str(value) == label:
        return True
    if not _is_number(value):
        return False
    if str(value) in ("True", "False") and label.lower() in ("true", "false"):
        return str(value).lower() == label.lower()
    number = parse_number(label)
    return number is not None and number == float(value)


def parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    """Whether `value` is a number or boolean, of Python's or numpy's types."""
    return not isinstance(value, str | bytes) and hasattr(value, "__float__")
