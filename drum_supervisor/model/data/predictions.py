"""Checking the predictions of a model and formatting them as response content. Needs pandas."""

import math
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

from drum_supervisor.model.data.errors import ResultError
from drum_supervisor.model.data.target import Target, TargetType

# DRUM's name for the column of numbers.
_NUMBER_COLUMN = "Predictions"

_RANGE_TOLERANCE = 1e-6
_SUM_TOLERANCE = 1e-3


def split_columns(predictions: pd.DataFrame, target: Target) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the predictions into what `post_process` gets and the extra columns.

    As in DRUM, `post_process` gets one column per label, in label order, or the column `Predictions`.
    """
    columns = _find_columns(predictions, target)
    named = predictions.iloc[:, list(columns.values())].set_axis(list(columns), axis=1)
    return named, predictions.iloc[:, _find_extra(predictions, columns)]


def join_columns(processed: pd.DataFrame, extra: pd.DataFrame) -> pd.DataFrame:
    """Append the extra columns to the result of `post_process`, except those that it returned itself."""
    kept = extra.loc[:, ~extra.columns.isin(processed.columns)]
    if kept.columns.empty or len(processed) != len(kept):  # format_predictions rejects a wrong number of rows
        return processed
    return pd.concat([processed, kept.set_index(processed.index)], axis=1)


def format_predictions(predictions: pd.DataFrame, target: Target, rows: int) -> dict[str, Any]:
    """Return the content of a response: `predictions`, and extra columns as `extraModelOutput`.

    Numbers become floats, NaN and infinities None; classes become one `{label: probability}` per row, in label order.
    A wrong number of rows, wrong columns, and values that are not numbers or probabilities are a `ResultError`.
    """
    if len(predictions) != rows:
        raise ResultError(
            f"Expected one prediction for each of {rows} rows, but the model returned {len(predictions)}."
        )
    predictions = predictions.infer_objects()
    columns = _find_columns(predictions, target)
    values = {label: _to_floats(predictions.iloc[:, column]) for label, column in columns.items()}
    content: dict[str, Any] = {
        "predictions": _format_classes(values, target) if target.labels else _format_numbers(values)
    }
    if extra := _find_extra(predictions, columns):
        content["extraModelOutput"] = _format_extra(predictions.iloc[:, extra])
    return content


def _find_columns(predictions: pd.DataFrame, target: Target) -> dict[str, int]:
    """Return the position of each label's column, or of the column of numbers."""
    names = [str(name) for name in predictions.columns]
    return _find_label_columns(names, target) if target.labels else {_NUMBER_COLUMN: _find_number_column(names)}


def _find_extra(predictions: pd.DataFrame, columns: dict[str, int]) -> list[int]:
    return [column for column in range(predictions.shape[1]) if column not in columns.values()]


def _find_number_column(names: list[str]) -> int:
    if len(names) == 1:
        return 0
    if names.count(_NUMBER_COLUMN) != 1:
        raise ResultError(
            f"Expected one column, or one named {_NUMBER_COLUMN} among others, but the columns are {names}."
        )
    return names.index(_NUMBER_COLUMN)


def _find_label_columns(names: list[str], target: Target) -> dict[str, int]:
    # a binary target needs only one of its two columns
    columns = {label: names.index(label) for label in target.labels if label in names}
    is_enough = len(columns) == len(target.labels) or (target.type is TargetType.BINARY and columns)
    if not is_enough or any(names.count(label) > 1 for label in columns):
        raise ResultError(f"Expected one column for each label {list(target.labels)}, but the columns are {names}.")
    return columns


def _to_floats(series: pd.Series) -> np.ndarray:
    kind = series.dtype
    if not is_numeric_dtype(kind) or is_bool_dtype(kind) or is_complex_dtype(kind):
        raise ResultError(f"Expected numbers in the column {str(series.name)!r}, but it holds values of type {kind}.")
    return np.asarray(series.to_numpy(dtype="float64", na_value=np.nan))


def _format_numbers(values: dict[str, np.ndarray]) -> list[float | None]:
    numbers = values[_NUMBER_COLUMN]
    listed: list[float | None] = numbers.tolist()
    for row in np.flatnonzero(~np.isfinite(numbers)):
        listed[row] = None
    return listed


def _format_classes(values: dict[str, np.ndarray], target: Target) -> list[dict[str, float]]:
    if len(values) < len(target.labels):  # binary with one column: the other is its complement
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
        received = dict(zip(target.labels, table[row].tolist(), strict=True))
        raise ResultError(f"Expected probabilities within [0, 1] that add up to 1, but row {row} has {received}.")


def _format_extra(table: pd.DataFrame) -> dict[str, Any]:
    return {name: _to_json(values) for name, values in table.to_dict(orient="split").items()}


def _to_json(value: Any) -> Any:
    """Return `value` as JSON types: containers as lists and objects, NaN as None, anything unknown as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case np.generic() if not isinstance(value, np.datetime64 | np.timedelta64):
            return _to_json(value.item())
        case dict():
            return {str(key): _to_json(each) for key, each in value.items()}
        case list() | tuple() | set() | np.ndarray():
            return [_to_json(each) for each in value]
    return None if value is pd.NA or value is pd.NaT else str(value)
