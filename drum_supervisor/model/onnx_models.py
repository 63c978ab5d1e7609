"""ONNX models. The only module that imports onnxruntime, and only to load such a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.errors import PayloadError, ResultError
from drum_supervisor.model.data.labels import is_same_class, label_columns, match_labels, parse_number
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.estimators import to_table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_DTYPES = {"float": "float32", "double": "float64", "string": "object"}
_TIE = 1e-6


def load(path: Path) -> Any:
    """Return an onnxruntime session for the model in `path`; a missing onnxruntime is a `UsageError`."""
    try:
        import onnxruntime  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{str(path)!r} needs the package 'onnxruntime', which is not installed: "
            "pip install 'drum_supervisor[onnx]'"
        ) from error
    return onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())


def is_session(artifact: Any) -> bool:
    """Whether `artifact` is an onnxruntime session; `load_model` may return one too."""
    return all(hasattr(artifact, name) for name in ("get_inputs", "get_outputs", "run"))


class OnnxModel:
    """Predicts with an onnxruntime session, which has one input for the whole table or one input per column.

    Regression and anomaly use the first output. Classification uses the output with probabilities: maps, which name
    the classes, or a tensor with one column per class. If there is an output with the predicted class as well, it
    gives the order of these columns, and every prediction is checked against it.
    """

    name = "onnx"

    def __init__(self, session: Any, target: Target) -> None:
        self._session = session
        self._target = target
        self._inputs = list(session.get_inputs())
        outputs = list(session.get_outputs())
        self._output = _find_probabilities(outputs) if target.labels else outputs[0]
        self._class_output = _find_predicted_class(outputs, target) if target.labels else None
        self._columns = _order_labels(target, self._class_output)

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame":
        names = [self._output.name, *([self._class_output.name] if self._class_output else [])]
        result, *predicted = self._session.run(names, _build_feed(self._inputs, table))
        if self._output.type.startswith("seq("):
            return self._read_maps(result)
        if self._target.type is TargetType.BINARY and result.size == len(result):
            return to_table(result, self._target.labels[:1], f"output {self._output.name!r}")
        predictions = to_table(result, self._columns, f"output {self._output.name!r}")
        if predicted:
            self._check_columns(predictions, predicted[0])
        return predictions

    def _read_maps(self, rows: list[Mapping[Any, float]]) -> "pd.DataFrame":
        classes = list(rows[0])
        try:
            columns = match_labels(classes, self._target)
        except UsageError as error:
            raise ResultError(str(error)) from None
        return to_table([[row[each] for each in classes] for row in rows], columns, f"output {self._output.name!r}")

    def _check_columns(self, predictions: "pd.DataFrame", classes: "np.ndarray") -> None:
        # Columns in another order than assumed would give wrong predictions that look right.
        values = predictions.to_numpy()
        for row, value in enumerate(classes.ravel().tolist()):
            column = next((number for number, label in enumerate(self._columns) if is_same_class(value, label)), None)
            if column is None or values[row, column] < values[row].max() - _TIE:
                raise ResultError(
                    f"The model predicts class {value!r}, but its probabilities are "
                    f"{dict(zip(self._columns, values[row].tolist(), strict=True))}: the order of its columns is "
                    "unknown; define score(data, model) in custom.py."
                )


def _find_probabilities(outputs: list[Any]) -> Any:
    maps = [output for output in outputs if output.type.startswith("seq(map(")]
    floats = [output for output in outputs if output.type in ("tensor(float)", "tensor(double)", "tensor(float16)")]
    if not maps and not floats:
        described = ", ".join(f"{output.name} {output.type}" for output in outputs)
        raise UsageError(
            f"The ONNX model has no output with probabilities, its outputs are: {described}; define score(data, model) "
            "in custom.py."
        )
    return maps[0] if maps else floats[-1]


def _find_predicted_class(outputs: list[Any], target: Target) -> Any:
    """Return the output that holds the predicted class as a label."""
    types = ["tensor(string)"]
    if all(parse_number(label) is not None for label in target.labels):
        types.append("tensor(int64)")  # with other labels these are indices of an unknown list
    return next((output for output in outputs if output.type in types), None)


def _order_labels(target: Target, class_output: Any) -> tuple[str, ...]:
    """Return the label of each column: a model that knows its classes has them sorted."""
    if class_output is None:
        return label_columns(target)
    if class_output.type == "tensor(int64)":
        return tuple(sorted(target.labels, key=float))
    return tuple(sorted(target.labels))


def _build_feed(inputs: list[Any], table: "pd.DataFrame") -> dict[str, "np.ndarray"]:
    if len(inputs) == 1:
        return {inputs[0].name: _convert(table, inputs[0])}
    missing = [each.name for each in inputs if each.name not in table.columns]
    if missing:
        raise PayloadError(
            f"the model needs the column {missing[0]!r}; the columns are {list(map(str, table.columns))}"
        )
    return {each.name: _convert(table[[each.name]], each) for each in inputs}


def _convert(table: "pd.DataFrame", model_input: Any) -> "np.ndarray":
    """Return the table's values in the type and shape of `model_input`."""
    import numpy as np  # noqa: PLC0415

    width = model_input.shape[1] if len(model_input.shape) == 2 else None
    if isinstance(width, int) and width != table.shape[1]:
        raise PayloadError(f"the model takes {width} columns, but there are {table.shape[1]}")
    kind = model_input.type.removeprefix("tensor(").removesuffix(")")
    try:
        values: np.ndarray = table.astype(str).to_numpy() if kind == "string" else table.to_numpy()
        with np.errstate(invalid="ignore"):  # NaN as an integer: found by the comparison below
            converted = values.astype(_DTYPES.get(kind, kind))
        if converted.dtype.kind in "iub" and (converted != values).any():
            raise ValueError("some are not integers")
    except (TypeError, ValueError) as error:
        raise PayloadError(f"the model takes values of type {kind}: {error}") from None
    return converted.reshape(-1) if len(model_input.shape) == 1 else converted
