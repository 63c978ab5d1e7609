"""A loaded model: what it predicts, and predicting with it. Not thread-safe unless the user's hooks are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import unstructured
from drum_supervisor.model.artifacts import Predictor
from drum_supervisor.model.hooks import Hooks
from drum_supervisor.model.source import SOURCE
from drum_supervisor.model.target import Target
from drum_supervisor.model.unstructured import Output


@dataclass(frozen=True)
class Model:
    """The user's model after its initialization.

    Attributes:
        code_dir: the model folder, absolute.
        target: what is predicted.
        hooks: what `custom.py` defines.
        artifact: what `load_model` returned, or else what was in the file of the artifact.
        metadata: the top-level texts of `model-metadata.yaml`.
        predictor: stands in for the `score` hook.
    """

    code_dir: Path
    target: Target
    hooks: Hooks
    artifact: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
    predictor: Predictor | None = None

    @property
    def target_type(self) -> str:
        return self.target.type.value

    @property
    def labels(self) -> tuple[str, ...]:
        """Binary: the positive and the negative label; multiclass: all; else none."""
        return self.target.labels

    @property
    def predictor_name(self) -> str:
        """The framework that predicts, or `custom.py`."""
        return self.predictor.name if self.predictor is not None else SOURCE

    def predict(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the JSON-able predictions for a table: `predictions`, and `extraModelOutput` for further columns.

        Args:
            body: the data itself, or a multipart form with it in the field X.
            content_type: as HTTP's header has it; empty means CSV.

        Raises:
            PayloadError: the data cannot be read.
            ResultError: a hook returned something else than it must.
            BaseException: whatever the user's code raises.
        """
        result: dict[str, Any] = import_structured().predict(
            self.hooks, self.artifact, self.target, body, content_type, self.predictor
        )
        return result

    def predict_as_json(self, body: bytes, content_type: str) -> bytes:
        """Return what `predict` returns, written as JSON; raises the same."""
        from drum_supervisor.model.data.encoding import as_json  # noqa: PLC0415 - unstructured models do without orjson

        return as_json(self.predict(body, content_type))

    def predict_unstructured(
        self, body: bytes, content_type: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Output:
        """Return what the hook makes of `body`: text for it when `content_type` says text or nothing, else bytes.

        Raises:
            PayloadError: text that cannot be decoded.
            ResultError: the hook returned something else than it must.
            BaseException: whatever the user's code raises.
        """
        return unstructured.predict(self.hooks, self.artifact, body, content_type, query, headers)


def import_structured() -> ModuleType:
    """Import what works on tables, with pandas and orjson; unstructured models do without all of it.

    Raises:
        UsageError: one of them cannot be imported.
    """
    try:
        from drum_supervisor.model import structured  # noqa: PLC0415
        from drum_supervisor.model.data import encoding  # noqa: F401, PLC0415
    except ImportError as error:
        raise UsageError(
            f"Structured models need pandas and orjson, which cannot be imported: {error}. "
            'Install them with: pip install "drum_supervisor[model]"'
        ) from error
    return structured
