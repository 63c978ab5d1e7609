"""Predicting with a structured model: tables in and out. Needs pandas and orjson."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from drum_supervisor.model.data.encoding import encode_json
from drum_supervisor.model.data.errors import PayloadError, ResultError
from drum_supervisor.model.data.payload import Payload, unpack
from drum_supervisor.model.data.predictions import format_predictions, join_columns, split_columns
from drum_supervisor.model.data.tables import read_table
from drum_supervisor.model.data.target import Target, TargetType
from drum_supervisor.model.hooks import Hooks, Predictor


@dataclass(frozen=True)
class Pipeline:
    """The hooks of a structured model, in the order in which they run."""

    hooks: Hooks
    artifact: Any
    target: Target
    predictor: Predictor | None = None

    def predict_as_json(self, body: bytes, content_type: str) -> bytes:
        return encode_json(self.predict(body, content_type))

    def predict(self, body: bytes, content_type: str) -> dict[str, Any]:
        payload = unpack(body, content_type)
        table = self._read(payload)
        rows = len(table)
        if "transform" in self.hooks:
            table = self._call("transform", table, self.artifact)
        predictions = self._score(table, payload)
        if "post_process" in self.hooks:
            named, extra = split_columns(predictions, self.target)
            predictions = join_columns(self._call("post_process", named, self.artifact), extra)
        return format_predictions(predictions, self.target, rows)

    def _read(self, payload: Payload) -> pd.DataFrame:
        if "read_input_data" not in self.hooks:
            return read_table(payload)
        table = self._call("read_input_data", payload.data)
        if not len(table):
            raise PayloadError("no data: read_input_data returned no rows")
        return table

    def _score(self, table: pd.DataFrame, payload: Payload) -> pd.DataFrame:
        if self.predictor is not None:
            return self.predictor.predict(table)
        return self._call("score", table, self.artifact, **_score_options(payload, self.target))

    def _call(self, name: str, *arguments: Any, **options: Any) -> pd.DataFrame:
        result = self.hooks.call(name, *arguments, **options)
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
