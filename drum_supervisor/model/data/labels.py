"""Which class of a model is which label: models know numbers, switches or texts, labels are texts."""

from collections.abc import Iterable
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.target import Target, TargetType


def labels_of(classes: Iterable[Any] | None, target: Target) -> tuple[str, ...]:
    """Return the label of each class, in the order of the classes.

    A class is the label that is spelled like it, or that is the same number. A binary model may have two numbers that
    are no labels, 0 and 1 for example: the greater is the positive one, unless the labels' alphabetical order, in
    which encoders number them and DRUM takes them, says the opposite. Without classes see `natural_order`.

    Raises:
        UsageError: they are not the same, or it cannot be known which is which.
    """
    if classes is None:
        return natural_order(target)
    known = list(classes)
    found = tuple(next((label for label in target.labels if means(each, label)), None) for each in known)
    matched = tuple(label for label in found if label is not None)
    if sorted(matched) == sorted(target.labels) and len(known) == len(matched):
        return matched
    is_numbered = target.type is TargetType.BINARY and len(known) == 2 and all(map(_is_number, known))
    order = natural_order(target)
    if is_numbered and not matched and float(known[0]) < float(known[1]) and order == tuple(sorted(order)):
        return order
    raise UsageError(
        f"The model's classes are {[str(each) for each in known]}, but the class labels are {list(target.labels)}: "
        "give labels that are spelled like the classes, or define score(data, model) in custom.py."
    )


def natural_order(target: Target) -> tuple[str, ...]:
    """Return the labels in the order of the columns of a model that does not name them.

    Binary: the negative one first, because it is class 0; multiclass: as they were given.
    """
    return target.labels[::-1] if target.type is TargetType.BINARY else target.labels


def means(value: Any, label: str) -> bool:
    """Whether the class `value` of a model is the one that the user calls `label`."""
    if str(value) == label:
        return True
    if not _is_number(value):
        return False
    if str(value) in ("True", "False") and label.lower() in ("true", "false"):
        return str(value).lower() == label.lower()
    number = as_number(label)
    return number is not None and number == float(value)


def as_number(text: str) -> float | None:
    """Return the number that `text` is; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: Any) -> bool:
    """Whether it is a number or a switch, of Python's or numpy's types."""
    return not isinstance(value, str | bytes) and hasattr(value, "__float__")
