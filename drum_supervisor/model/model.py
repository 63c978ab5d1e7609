"""A loaded model. Predicting is thread-safe only if the user's hooks are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.model import unstructured
from drum_supervisor.model.data.target import Target
from drum_supervisor.model.hooks import Hooks, Predictor
from drum_supervisor.model.source import CUSTOM_PY

if TYPE_CHECKING:
    from drum_supervisor.model.structured import Pipeline


@dataclass(frozen=True)
class Model:
    """The user's model after initialization.

    Attributes:
        code_dir: an absolute path.
        artifact: what `load_model` returned, or the content of the artifact file.
        metadata: top-level values of `model-metadata.yaml`.
        predictor: used instead of a `score` hook.
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
        return self.target.labels

    @property
    def predictor_name(self) -> str:
        """The framework that predicts, or `custom.py`."""
        return self.predictor.name if self.predictor is not None else CUSTOM_PY

    def predict(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Return `predictions`, and extra columns as `extraModelOutput`, ready for JSON.

        Raises:
            PayloadError: the data is unusable.
            ResultError: a hook or the model returned an invalid result.
            BaseException: whatever the user's code raises.
        """
        return self._pipeline().predict(body, content_type)

    def predict_as_json(self, body: bytes, content_type: str) -> bytes:
        return self._pipeline().predict_as_json(body, content_type)

    def predict_unstructured(
        self, body: bytes, content_type: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> unstructured.Output:
        """Return the output of the `score_unstructured` hook; raises as `predict` does."""
        return unstructured.predict(self.hooks, self.artifact, body, content_type, query, headers)

    def _pipeline(self) -> "Pipeline":
        pipeline: Pipeline = import_structured().Pipeline(self.hooks, self.artifact, self.target, self.predictor)
        return pipeline


def import_structured() -> ModuleType:
    """Import the module that needs pandas and orjson; unstructured models work without them."""
    try:
        from drum_supervisor.model import structured  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"Structured models need pandas and orjson, which cannot be imported: {error}. "
            'Install them with: pip install "drum_supervisor[model]"'
        ) from error
    return structured
