"""Predicting on tables: the hooks of a structured model in their order. Needs pandas."""

from typing import Any

import pandas as pd

from drum_supervisor.model.errors import PayloadError, ResultError
from drum_supervisor.model.hooks import Hooks
from drum_supervisor.model.payload import Payload, unpack
from drum_supervisor.model.predictions import predictions_content
from drum_supervisor.model.predictors import Predictor
from drum_supervisor.model.tables import read_table
from drum_supervisor.model.target import Target, TargetType


def predict(
    hooks: Hooks,
    artifact: Any,
    target: Target,
    body: bytes,
    content_type: str,
    predictor: Predictor | None = None,
) -> dict[str, Any]:
    """Read the table in `body`, run it through the hooks and return the JSON-able predictions.

    Without a `score` hook `predictor` predicts.
    """
    payload = unpack(body, content_type)
    table = _read(hooks, payload)
    rows = len(table)
    if "transform" in hooks:
        table = _table(hooks, "transform", table, artifact)
    if predictor is not None:
        predictions = predictor.predict(table)
    else:
        predictions = _table(hooks, "score", table, artifact, **_score_options(payload, target))
    if "post_process" in hooks:
        predictions = _table(hooks, "post_process", predictions, artifact)
    return predictions_content(predictions, target, rows)


def _read(hooks: Hooks, payload: Payload) -> pd.DataFrame:
    if "read_input_data" not in hooks:
        return read_table(payload)
    table = _table(hooks, "read_input_data", payload.data)
    if not len(table):
        raise PayloadError("no data: read_input_data found no rows in it")
    return table


def _table(hooks: Hooks, name: str, *arguments: Any, **options: Any) -> pd.DataFrame:
    result = hooks.call(name, *arguments, **options)
    if not isinstance(result, pd.DataFrame):
        raise ResultError(f"{name} must return a DataFrame, but it returned {type(result).__name__}.")
    return result


def _score_options(payload: Payload, target: Target) -> dict[str, Any]:
    """Return the keyword arguments that DRUM documents for `score`; what does not apply is None."""
    positive, negative = target.labels if target.type is TargetType.BINARY else (None, None)
    return {
        "positive_class_label": positive,
        "negative_class_label": negative,
        "class_labels": list(target.labels) if target.type is TargetType.MULTICLASS else None,
        "target_type": target.type.value,
        "binary_data": payload.data,
        "mimetype": payload.mimetype or None,
        "charset": payload.charset or None,
    }
