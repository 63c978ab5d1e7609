"""Checking the predictions that a model returns and giving them the shape of the answer. Needs pandas."""

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from drum_supervisor.model.errors import ResultError
from drum_supervisor.model.target import Target, TargetType

# What DRUM calls the prediction when further columns stand beside it.
NUMBER_COLUMN = "Predictions"

_RANGE_TOLERANCE = 1e-6
_SUM_TOLERANCE = 1e-3


def separated(predictions: pd.DataFrame, target: Target) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the predictions as `post_process` gets them, and the further columns.

    As in DRUM they are one column for each label, in label order, or the column `Predictions`.

    Raises:
        ResultError: wrong columns.
    """
    columns = _columns(predictions, target)
    named = predictions.iloc[:, list(columns.values())].set_axis(list(columns), axis=1)
    return named, predictions.iloc[:, _others(predictions, columns)]


def joined(processed: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return what `post_process` has made of the predictions beside the further columns, row by row.

    A column of the same name takes the place of the further one.
    """
    left = others.loc[:, ~others.columns.isin(processed.columns)]
    if left.columns.empty or len(processed) != len(left):  # another number of rows is found to be wrong later
        return processed
    return pd.concat([processed, left.set_index(processed.index)], axis=1)


def predictions_content(predictions: pd.DataFrame, target: Target, rows: int) -> dict[str, Any]:
    """Return `predictions` as the content of an answer, with further columns as `extraModelOutput`.

    Numbers become floats, NaN and infinities None; classes become one `{label: probability}` a row, in label order.

    Raises:
        ResultError: not one prediction a row, wrong columns, no numbers, or no probabilities.
    """
    if len(predictions) != rows:
        raise ResultError(
            f"Expected one prediction for each of {rows} rows, but the model returned {len(predictions)}."
        )
    predictions = predictions.infer_objects()
    columns = _columns(predictions, target)
    values = {label: _numbers(predictions.iloc[:, column]) for label, column in columns.items()}
    content: dict[str, Any] = {"predictions": _classes(values, target) if target.labels else _floats(values)}
    if others := _others(predictions, columns):
        content["extraModelOutput"] = _split(predictions.iloc[:, others])
    return content


def _columns(predictions: pd.DataFrame, target: Target) -> dict[str, int]:
    """Return where the column of each label is, or that of the numbers."""
    names = [str(name) for name in predictions.columns]
    return _label_columns(names, target) if target.labels else {NUMBER_COLUMN: _number_column(names)}


def _others(predictions: pd.DataFrame, columns: dict[str, int]) -> list[int]:
    return [column for column in range(predictions.shape[1]) if column not in columns.values()]


def _number_column(names: list[str]) -> int:
    if len(names) == 1:
        return 0
    if names.count(NUMBER_COLUMN) != 1:
        raise ResultError(
            f"Expected one column, or one named {NUMBER_COLUMN} among others, but the columns are {names}."
        )
    return names.index(NUMBER_COLUMN)


def _label_columns(names: list[str], target: Target) -> dict[str, int]:
    """Return where the column of each label is; of a binary target one may be missing."""
    columns = {label: names.index(label) for label in target.labels if label in names}
    is_enough = len(columns) == len(target.labels) or (target.type is TargetType.BINARY and columns)
    if not is_enough or any(names.count(label) > 1 for label in columns):
        raise ResultError(f"Expected one column for each label {list(target.labels)}, but the columns are {names}.")
    return columns


def _numbers(series: pd.Series) -> np.ndarray:
    kind = series.dtype
    if not is_numeric_dtype(kind) or is_bool_dtype(kind) or is_complex_dtype(kind):
        raise ResultError(f"Expected numbers in the column {str(series.name)!r}, but it holds values of type {kind}.")
    return np.asarray(series.to_numpy(dtype="float64", na_value=np.nan))


def _floats(values: dict[str, np.ndarray]) -> list[float | None]:
    numbers = values[NUMBER_COLUMN]
    listed: list[float | None] = numbers.tolist()
    for row in np.flatnonzero(~np.isfinite(numbers)):
        listed[row] = None
    return listed


def _classes(values: dict[str, np.ndarray], target: Target) -> list[dict[str, float]]:
    """Give each row its probabilities; of two labels the missing one has what is left to 1."""
    if len(values) < len(target.labels):
        (given,) = values.values()
        values = {label: values.get(label, 1 - given) for label in target.labels}
    table = np.column_stack([values[label] for label in target.labels])
    _check_probabilities(table, target)
    return [dict(zip(target.labels, row, strict=True)) for row in table.tolist()]


def _check_probabilities(table: np.ndarray, target: Target) -> None:
    is_inside = ((table >= -_RANGE_TOLERANCE) & (table <= 1 + _RANGE_TOLERANCE)).all(axis=1)  # false for NaN too
    is_good = is_inside & (abs(table.sum(axis=1) - 1) <= _SUM_TOLERANCE)
    if not is_good.all():
        row = int(np.argmin(is_good))
        came = dict(zip(target.labels, table[row].tolist(), strict=True))
        raise ResultError(f"Expected probabilities within [0, 1] that add up to 1, but row {row} has {came}.")


def _split(table: pd.DataFrame) -> dict[str, Any]:
    return {name: _jsonable(values) for name, values in table.to_dict(orient="split").items()}


def _jsonable(value: Any) -> Any:
    """Return `value` as JSON knows it: containers as lists and objects, what it cannot say as text, NaN as None."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case np.generic() if not isinstance(value, np.datetime64 | np.timedelta64):
            return _jsonable(value.item())
        case dict():
            return {str(key): _jsonable(each) for key, each in value.items()}
        case list() | tuple() | set() | np.ndarray():
            return [_jsonable(each) for each in value]
    return None if value is pd.NA or value is pd.NaT else str(value)
