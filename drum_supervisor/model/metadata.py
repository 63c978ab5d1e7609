"""What is declared about a model: `model-metadata.yaml`, and the target named there or in the settings.

Of the file only the `name: value` lines at the top level count; nested values, lists and blocks are ignored. It is read
line by line so that the result is the same with and without PyYAML.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from drum_supervisor.config.settings import TARGET_TYPES, Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.target import Target, TargetType

_METADATA_FILE = "model-metadata.yaml"

_LINE = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)\s*:\s+(?P<value>\S.*)")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>[^"'\\]*)(?P=quote)\s*(#.*)?""")
_NOT_A_PLAIN_SCALAR = tuple("\"'#|>&*!%@`[{")


def read_metadata(code_dir: Path) -> dict[str, str]:
    """Return the top-level values of `model-metadata.yaml`; empty without that file."""
    path = code_dir / _METADATA_FILE
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read {str(path)!r}: {_reason(error)}.") from error
    values = {match["name"]: _parse_scalar(match["value"]) for match in map(_LINE.fullmatch, lines) if match}
    return {name: text for name, text in values.items() if text}


def read_target(settings: Settings, metadata: Mapping[str, str]) -> Target:
    """Return the target that the settings name, or else the metadata's `targetType`."""
    target_type = _parse_target_type(settings.target_type, metadata.get("targetType", ""))
    if target_type is TargetType.BINARY:
        return Target(target_type, _binary_labels(settings))
    if target_type is TargetType.MULTICLASS:
        return Target(target_type, _multiclass_labels(settings))
    return Target(target_type)


def _parse_scalar(value: str) -> str:
    """Return a scalar without quotes and comment; empty if `value` is not a plain scalar on one line."""
    quoted = _QUOTED.fullmatch(value)
    if quoted:
        return quoted["text"]
    return "" if value.startswith(_NOT_A_PLAIN_SCALAR) else re.split(r"\s#", value)[0].strip()


def _parse_target_type(from_settings: str, from_metadata: str) -> TargetType:
    name = (from_settings or from_metadata).strip().lower()
    supported = ", ".join(each.value for each in TargetType)
    if not name:
        raise UsageError(
            f"No target type: give --target-type, set TARGET_TYPE, or add a targetType line to {_METADATA_FILE} in the "
            f"code directory; the built-in model server supports {supported}."
        )
    where = "" if from_settings else f" (from {_METADATA_FILE})"
    if name not in TARGET_TYPES:
        raise UsageError(f"Target type {name!r}{where} is unknown; the built-in model server supports {supported}.")
    try:
        return TargetType(name)
    except ValueError:
        raise UsageError(
            f"Target type {name!r}{where} is not supported by the built-in model server, which supports {supported}; "
            "run DRUM instead: --server-type drum."
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
        labels = _read_labels(Path(settings.class_labels_file))
    if not labels:
        raise UsageError(
            "Target type multiclass needs its class labels: give --class-labels 'a b c', or --class-labels-file with "
            "one label per line."
        )
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated or len(labels) < 2:
        problem = f"{repeated[0]!r} is given twice" if repeated else f"only {labels[0]!r} is given"
        raise UsageError(f"Target type multiclass needs at least two different class labels, but {problem}.")
    return labels


def _read_labels(path: Path) -> tuple[str, ...]:
    """Return one label per line, which may contain spaces; empty lines are ignored."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--class-labels-file: cannot read {str(path)!r}: {_reason(error)}.") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise UsageError(f"--class-labels-file: {str(path)!r} has no labels; write one per line.")
    return labels


def _reason(error: OSError | UnicodeDecodeError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
