"""Checking and formatting a model's predictions."""

import decimal
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drum_supervisor.model.data.errors import ResultError
from drum_supervisor.model.data.predictions import format_predictions
from drum_supervisor.model.data.target import Target, TargetType

REGRESSION = Target(TargetType.REGRESSION)
BINARY = Target(TargetType.BINARY, ("yes", "no"))
MULTICLASS = Target(TargetType.MULTICLASS, ("a", "b", "c"))


def formatted(frame: pd.DataFrame, target: Target) -> Any:
    content = format_predictions(frame, target, len(frame))
    assert list(content) == ["predictions"]
    json.dumps(content, allow_nan=False)
    return content["predictions"]


def refusal(columns: dict[str, Any], target: Target, rows: int | None = None) -> str:
    frame = pd.DataFrame(columns)
    with pytest.raises(ResultError) as caught:
        format_predictions(frame, target, len(frame) if rows is None else rows)
    return str(caught.value)


@pytest.mark.parametrize(
    "column",
    [
        [1, 2],
        [1.0, 2.0],
        np.array([1, 2], dtype="uint8"),
        np.array([1, 2], dtype="float32"),
        pd.array([1, 2], dtype="Int64"),
        pd.arrays.SparseArray([1.0, 2.0]),
        pd.Series([1, 2], dtype=object),
    ],
    ids=lambda column: str(getattr(column, "dtype", type(column).__name__)),
)
def test_numbers_of_any_kind_become_floats(column):
    predictions = formatted(pd.DataFrame({"any name": column}), REGRESSION)
    assert predictions == [1.0, 2.0]
    assert {type(number) for number in predictions} == {float}


@pytest.mark.parametrize("column", [[math.nan, math.inf, -math.inf], pd.array([None] * 3, dtype="Float64")])
def test_nan_and_infinities_become_null(column):
    assert formatted(pd.DataFrame({"Predictions": column}), REGRESSION) == [None] * 3


def test_an_anomaly_score_is_a_number():
    assert formatted(pd.DataFrame({"Predictions": [0.5]}), Target(TargetType.ANOMALY)) == [0.5]


def test_probabilities_are_returned_in_label_order():
    frame = pd.DataFrame({"no": [0.25, 1.0], "yes": [0.75, 0.0]})
    predictions = formatted(frame, BINARY)
    assert predictions == [{"yes": 0.75, "no": 0.25}, {"yes": 0.0, "no": 1.0}]
    assert list(predictions[0]) == ["yes", "no"]


def test_the_positive_probability_alone_is_completed():
    assert formatted(pd.DataFrame({"yes": [0.75]}), BINARY) == [{"yes": 0.75, "no": 0.25}]


def test_the_negative_probability_alone_is_completed():
    assert formatted(pd.DataFrame({"no": [0.75]}), BINARY) == [{"yes": 0.25, "no": 0.75}]


@pytest.mark.parametrize(("labels", "columns"), [(("1", "0"), [0, 1]), (("True", "False"), [False, True])])
def test_columns_are_matched_to_labels_as_text(labels, columns):
    frame = pd.DataFrame([[0.25, 0.75]], columns=columns)
    target = Target(TargetType.BINARY, labels)
    assert formatted(frame, target) == [{labels[0]: 0.75, labels[1]: 0.25}]


def test_class_columns_may_have_any_order():
    frame = pd.DataFrame({"c": [0.5], "a": [0.25], "b": [0.25]})
    assert formatted(frame, MULTICLASS) == [{"a": 0.25, "b": 0.25, "c": 0.5}]


def test_single_precision_probabilities_add_up():
    row = np.full((1, 1000), 1 / 1000, dtype="float32")
    target = Target(TargetType.MULTICLASS, tuple(str(number) for number in range(1000)))
    assert len(formatted(pd.DataFrame(row), target)[0]) == 1000


@pytest.mark.parametrize(
    ("columns", "target", "said"),
    [
        ({"x": ["text"]}, REGRESSION, "Expected numbers in the column 'x', but it holds values of type"),
        ({"x": [True]}, REGRESSION, "values of type bool"),
        ({"x": [1j]}, REGRESSION, "values of type complex"),
        ({"x": [decimal.Decimal(1)]}, REGRESSION, "values of type object"),
        ({"x": [1], "y": [2]}, REGRESSION, "one named Predictions among others, but the columns are ['x', 'y']"),
        ({}, REGRESSION, "but the columns are []"),
        ({"yes": [0.7], "no": [0.7]}, BINARY, "add up to 1, but row 0 has {'yes': 0.7, 'no': 0.7}"),
        ({"yes": [0.5, 1.5], "no": [0.5, -0.5]}, BINARY, "within [0, 1] that add up to 1, but row 1 has"),
        ({"yes": [1.5]}, BINARY, "row 0 has {'yes': 1.5, 'no': -0.5}"),
        ({"yes": [math.nan], "no": [0.5]}, BINARY, "row 0 has"),
        ({"Predictions": [0.5]}, BINARY, "each label ['yes', 'no'], but the columns are ['Predictions']"),
        ({"a": [0.5], "b": [0.5]}, MULTICLASS, "each label ['a', 'b', 'c'], but the columns are ['a', 'b']"),
        ({"a": ["x"], "b": [0.5], "c": [0.5]}, MULTICLASS, "Expected numbers in the column 'a'"),
    ],
)
def test_invalid_predictions_are_refused_with_the_reason(columns, target, said):
    assert said in refusal(columns, target, rows=len(columns[next(iter(columns))]) if columns else 0)


def test_a_duplicate_label_column_is_refused():
    frame = pd.DataFrame([[0.5, 0.5, 0.0]], columns=["yes", "yes", "no"])
    with pytest.raises(ResultError, match="one column for each label"):
        format_predictions(frame, BINARY, 1)


def test_there_must_be_one_prediction_per_row():
    said = refusal({"Predictions": [1.0]}, REGRESSION, rows=2)
    assert said == "Expected one prediction for each of 2 rows, but the model returned 1."


def test_extra_columns_become_extra_model_output():
    frame = pd.DataFrame({"why": ["a", None], "yes": [0.5, 1.0], "no": [0.5, 0.0], "n": [1, 2]}, index=["r1", "r2"])
    content = format_predictions(frame, BINARY, 2)
    assert content["predictions"] == [{"yes": 0.5, "no": 0.5}, {"yes": 1.0, "no": 0.0}]
    assert content["extraModelOutput"] == {
        "index": ["r1", "r2"],
        "columns": ["why", "n"],
        "data": [["a", 1], [None, 2]],
    }


def test_with_extra_columns_the_number_is_named_predictions():
    content = format_predictions(pd.DataFrame({"unit": ["kg"], "Predictions": [1.5]}), REGRESSION, 1)
    assert content["predictions"] == [1.5]
    assert content["extraModelOutput"]["columns"] == ["unit"]


def test_extra_model_output_of_any_type_becomes_json():
    values = [
        math.nan,
        np.float32(0.5),
        np.int8(3),
        np.bool_(True),
        pd.Timestamp("2024-11-22"),
        np.datetime64("2024-11-22"),
        pd.NaT,
        pd.NA,
        decimal.Decimal("1.5"),
        {"key": [np.array([1.0, math.inf])], 2: (1, 2)},
    ]
    frame = pd.DataFrame(
        {"Predictions": [1.0], **{str(at): pd.Series([value], dtype=object) for at, value in enumerate(values)}}
    )
    extra = format_predictions(frame, REGRESSION, 1)["extraModelOutput"]
    assert json.loads(json.dumps(extra, allow_nan=False))["data"] == [
        [
            None,
            0.5,
            3,
            True,
            "2024-11-22 00:00:00",
            extra["data"][0][5],
            None,
            None,
            "1.5",
            {"key": [[1.0, None]], "2": [1, 2]},
        ]
    ]
    assert extra["data"][0][5].startswith("2024-11-22")
