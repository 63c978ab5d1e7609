"""ONNX models. The one place for onnxruntime, which is imported only when such a model is met."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model.data.labels import as_number, labels_of, means, natural_order
from drum_supervisor.model.errors import PayloadError, ResultError
from drum_supervisor.model.estimators import shaped
from drum_supervisor.model.target import Target, TargetType

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_KINDS = {"float": "float32", "double": "float64", "string": "object"}
_TIE = 1e-6


def load(path: Path) -> Any:
    """Return a session of onnxruntime with the model in `path`.

    Raises:
        UsageError: onnxruntime is not installed.
        Exception: whatever onnxruntime raises.
    """
    try:
        import onnxruntime  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{str(path)!r} needs the package 'onnxruntime', which is not installed: "
            "pip install 'drum_supervisor[onnx]'"
        ) from error
    return onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())


def is_session(artifact: Any) -> bool:
    """Whether `artifact` is such a session, ours or the user's."""
    return all(hasattr(artifact, name) for name in ("get_inputs", "get_outputs", "run"))


class OnnxModel:
    """Predicts with a session, whose inputs are all columns at once, or one column each.

    Regression and anomaly are its first output. For classes it is the output with probabilities: maps, which name the
    classes, or a tensor with a column for each. An output with the predicted class, if there is one, tells in which
    order these columns are, and is compared with them.

    Raises:
        UsageError: no output has probabilities.
    """

    name = "onnx"

    def __init__(self, session: Any, target: Target) -> None:
        self._session = session
        self._target = target
        self._inputs = list(session.get_inputs())
        outputs = list(session.get_outputs())
        self._output = _with_probabilities(outputs) if target.labels else outputs[0]
        self._winner = _with_classes(outputs, target) if target.labels else None
        self._columns = _column_order(target, self._winner)

    def predict(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return a column for each label, or the one of numbers.

        Raises:
            PayloadError: the model does not take such columns.
            ResultError: the model returned something of another shape.
            Exception: whatever onnxruntime raises.
        """
        wanted = [self._output.name, *([self._winner.name] if self._winner else [])]
        result, *winners = self._session.run(wanted, _fed(self._inputs, table))
        if self._output.type.startswith("seq("):
            return self._named(result)
        if self._target.type is TargetType.BINARY and result.size == len(result):
            return shaped(result, self._target.labels[:1], f"output {self._output.name!r}")
        predictions = shaped(result, self._columns, f"output {self._output.name!r}")
        if winners:
            self._compare(predictions, winners[0])
        return predictions

    def _named(self, rows: list[Mapping[Any, float]]) -> "pd.DataFrame":
        classes = list(rows[0])
        try:
            columns = labels_of(classes, self._target)
        except UsageError as error:
            raise ResultError(str(error)) from None
        return shaped([[row[each] for each in classes] for row in rows], columns, f"output {self._output.name!r}")

    def _compare(self, predictions: "pd.DataFrame", winners: "np.ndarray") -> None:
        """Columns in another order than the labels would be wrong predictions that look right."""
        values = predictions.to_numpy()
        for row, winner in enumerate(winners.ravel().tolist()):
            column = next((number for number, label in enumerate(self._columns) if means(winner, label)), None)
            if column is None or values[row, column] < values[row].max() - _TIE:
                raise ResultError(
                    f"The model says class {winner!r} where the probabilities are "
                    f"{dict(zip(self._columns, values[row].tolist(), strict=True))}: it cannot be known which column "
                    "is which class; define score(data, model) in custom.py."
                )


def _with_probabilities(outputs: list[Any]) -> Any:
    maps = [output for output in outputs if output.type.startswith("seq(map(")]
    floats = [output for output in outputs if output.type in ("tensor(float)", "tensor(double)", "tensor(float16)")]
    if not maps and not floats:
        described = ", ".join(f"{output.name} {output.type}" for output in outputs)
        raise UsageError(
            f"The ONNX model has no output with probabilities, its outputs are: {described}; define score(data, model) "
            "in custom.py."
        )
    return maps[0] if maps else floats[-1]


def _with_classes(outputs: list[Any], target: Target) -> Any:
    """Return the output that names the predicted class as the labels do; None if there is none."""
    types = ["tensor(string)"]
    if all(as_number(label) is not None for label in target.labels):
        types.append("tensor(int64)")  # else these are the places in some list
    return next((output for output in outputs if output.type in types), None)


def _column_order(target: Target, winner: Any) -> tuple[str, ...]:
    """Return which label each column is: models that know the classes have them sorted."""
    if winner is None:
        return natural_order(target)
    if winner.type == "tensor(int64)":
        return tuple(sorted(target.labels, key=float))
    return tuple(sorted(target.labels))


def _fed(inputs: list[Any], table: "pd.DataFrame") -> dict[str, "np.ndarray"]:
    if len(inputs) == 1:
        return {inputs[0].name: _converted(table, inputs[0])}
    missing = [each.name for each in inputs if each.name not in table.columns]
    if missing:
        raise PayloadError(
            f"the model needs the column {missing[0]!r}; the columns are {list(map(str, table.columns))}"
        )
    return {each.name: _converted(table[[each.name]], each) for each in inputs}


def _converted(table: "pd.DataFrame", wanted: Any) -> "np.ndarray":
    """Return the values in the type, and with the number of columns, that the model wants."""
    import numpy as np  # noqa: PLC0415

    width = wanted.shape[1] if len(wanted.shape) == 2 else None
    if isinstance(width, int) and width != table.shape[1]:
        raise PayloadError(f"the model takes {width} columns, but there are {table.shape[1]}")
    kind = wanted.type.removeprefix("tensor(").removesuffix(")")
    try:
        values: np.ndarray = table.astype(str).to_numpy() if kind == "string" else table.to_numpy()
        with np.errstate(invalid="ignore"):  # NaN as a whole number; what comes of it is compared
            converted = values.astype(_KINDS.get(kind, kind))
        if converted.dtype.kind in "iub" and (converted != values).any():
            raise ValueError("some are no whole numbers")
    except (TypeError, ValueError) as error:
        raise PayloadError(f"the model takes values of type {kind}: {error}") from None
    return converted.reshape(-1) if len(wanted.shape) == 1 else converted
