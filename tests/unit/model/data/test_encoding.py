"""Predictions as JSON text, also those that orjson refuses."""

import json

import pytest

from drum_supervisor.model.data.encoding import as_json


@pytest.mark.parametrize(
    "content",
    [
        {"predictions": [1.0, 0.1, 1e-20, 1e22, None, -0.0]},
        {"predictions": [{"yes": 0.75, "nö": 0.25}]},
        {"predictions": [1.0], "extraModelOutput": {"index": ["a"], "columns": ["big"], "data": [[2**64]]}},
        {"predictions": [1.0], "extraModelOutput": {"index": [0], "columns": ["half"], "data": [["\ud83d"]]}},
    ],
)
def test_what_is_read_is_what_was_written(content):
    assert json.loads(as_json(content)) == content


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="Out of range float values"):
        as_json({"predictions": [float("nan")], "big": 2**64})
