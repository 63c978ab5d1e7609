"""Predictions as JSON, including values that orjson refuses."""

import json

import pytest

from drum_supervisor.model.data.encoding import encode_json


@pytest.mark.parametrize(
    "content",
    [
        {"predictions": [1.0, 0.1, 1e-20, 1e22, None, -0.0]},
        {"predictions": [{"yes": 0.75, "nö": 0.25}]},
        {"predictions": [1.0], "extraModelOutput": {"index": ["a"], "columns": ["big"], "data": [[2**64]]}},
        {"predictions": [1.0], "extraModelOutput": {"index": [0], "columns": ["half"], "data": [["\ud83d"]]}},
    ],
)
def test_content_survives_a_round_trip(content):
    assert json.loads(encode_json(content)) == content


def test_nan_is_refused():
    with pytest.raises(ValueError, match="Out of range float values"):
        encode_json({"predictions": [float("nan")], "big": 2**64})
