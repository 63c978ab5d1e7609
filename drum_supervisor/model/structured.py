"""Predicting on tables: the hooks of a structured model in their order. Needs pandas."""

from typing import Any

import pandas as pd

from drum_supervisor.model.artifacts import Predictor
from drum_supervisor.model.data.payload import Payload, unpack
from drum_supervisor.model.data.predictions import joined, predictions_content, separated
from drum_supervisor.model.data.tables import read_table
from drum_supervisor.model.errors import PayloadError, ResultError
from drum_supervisor.model.hooks import Hooks
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
        named, others = separated(predictions, target)
        predictions = joined(_table(hooks, "post_process", named, artifact), others)
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
    """Return the keyword arguments that DRUM documents for `score`; labels only where the target type has them."""
    return {
        **_label_options(target),
        "target_type": target.type,
        "binary_data": payload.data,
        "mimetype": payload.mimetype or None,
        "charset": payload.charset or None,
    }


def _label_options(target: Target) -> dict[str, Any]:
    if target.type is TargetType.BINARY:
        return dict(zip(("positive_class_label", "negative_class_label"), target.labels, strict=True))
    return {"class_labels": list(target.labels)} if target.labels else {}
