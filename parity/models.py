"""The model folders below `parity/models/`, how each is served, and its groups of requests."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDERS = Path(__file__).resolve().parent / "models"

BINARY = {"POSITIVE_CLASS_LABEL": "yes", "NEGATIVE_CLASS_LABEL": "no"}


@dataclass(frozen=True)
class Model:
    """A model folder and the variables for both servers.

    Attributes:
        name: of the folder.
        target_type: in DRUM's spelling.
        groups: of requests, see `parity.requests`.
        environment: additional variables; `{folder}` is the model folder.
    """

    name: str
    target_type: str
    groups: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def _parameter(kind: str, payload: object) -> str:
    return json.dumps({"type": kind, "payload": payload})


MODELS = (
    Model("regression", "regression", ("routes", "tables", "bodies")),
    Model("renamed", "regression", ("small",)),
    Model("extra_columns", "regression", ("small",)),
    Model("extra_binary", "binary", ("small",), BINARY),
    Model("nan_predictions", "regression", ("small",)),
    Model("binary_two", "binary", ("small", "info"), BINARY),
    Model("binary_one", "binary", ("small",), BINARY),
    Model("binary_numbers", "binary", ("small",), {"POSITIVE_CLASS_LABEL": "1", "NEGATIVE_CLASS_LABEL": "0"}),
    Model("multiclass", "multiclass", ("small", "info"), {"CLASS_LABELS": "a b c"}),
    Model("labels_file", "multiclass", ("small", "info"), {"CLASS_LABELS_FILE": "{folder}/labels.txt"}),
    Model("anomaly", "anomaly", ("small", "info")),
    Model("reading", "regression", ("tables",)),
    Model("arguments", "regression", ("tables",)),
    Model("arguments_binary", "binary", ("small",), BINARY),
    Model("read_input_data", "regression", ("tables",)),
    Model("all_hooks", "regression", ("small",)),
    Model("post_process_extra", "binary", ("small",), BINARY),
    Model("post_process_beside", "binary", ("small",), BINARY),
    Model("target_type", "regression", ("small",)),
    Model("raising", "regression", ("raising",)),
    Model("probabilities", "binary", ("probabilities",), BINARY),
    Model("http_error", "regression", ("http_error",)),
    Model(
        "runtime_parameters",
        "regression",
        ("small",),
        {
            "MLOPS_RUNTIME_PARAM_GREETING": _parameter("string", "hello"),
            "MLOPS_RUNTIME_PARAM_FLAG": _parameter("boolean", True),
            "MLOPS_RUNTIME_PARAM_NUMBER": _parameter("numeric", 1.5),
            "MLOPS_RUNTIME_PARAM_KEY": _parameter("credential", {"credentialType": "basic", "user": "me"}),
        },
    ),
    Model("sklearn_regression", "regression", ("small", "info")),
    Model("sklearn_binary", "binary", ("small", "info"), BINARY),
    Model("sklearn_multiclass", "multiclass", ("small",), {"CLASS_LABELS": "c a b"}),
    Model("sklearn_anomaly", "anomaly", ("small",)),
    Model("prefixed", "regression", ("prefixed",), {"URL_PREFIX": "/some/prefix"}),
    Model("unstructured", "unstructured", ("routes", "texts")),
)


def copied(name: str, to: Path, python: Path) -> Path:
    """Copy a model folder below `to`; that Python creates its artifact, because pickles are tied to versions."""
    folder = to / name
    shutil.copytree(FOLDERS / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    maker = folder / "make.py"
    if maker.exists():
        subprocess.run([str(python), maker.name], cwd=folder, check=True, timeout=300)
        maker.unlink()
    return folder
