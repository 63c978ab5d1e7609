"""Profiles: named sets of defaults, and the environment variables of their platforms. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

PROFILES: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "sagemaker": {"code_dir": "/opt/ml/model", "while_starting": "respond"},
    # respond: while a model loads again after a crash, /livez must answer, or the kubelet kills the container
    "kubernetes": {"while_starting": "respond", "failed_ping": "503"},
}

# Where DRUM's images have their model. An image that also serves SageMaker may have it in either folder.
DRUM_CODE_DIR = "/opt/code"

# Variables of SageMaker's own model servers, and the settings that they stand for.
_SAGEMAKER_VARIABLES = {
    "SAGEMAKER_BIND_TO_PORT": ("address", "0.0.0.0:{}"),
    "SAGEMAKER_MODEL_SERVER_WORKERS": ("workers", "{}"),
    "SAGEMAKER_MODEL_SERVER_TIMEOUT": ("request_timeout", "{}"),
}


def read_profile(profile: str, environ: Mapping[str, str], root: Path = Path("/")) -> dict[str, tuple[str, str]]:
    """Return the text and the source of each setting that the profile sets; model folders are looked up in `root`."""
    found = {name: (text, f"profile {profile}") for name, text in PROFILES[profile].items()}
    if profile == "sagemaker":
        if not _has_files(root, found["code_dir"][0]) and _has_files(root, DRUM_CODE_DIR):
            found["code_dir"] = (DRUM_CODE_DIR, f"profile {profile}")
        for variable, (name, template) in _SAGEMAKER_VARIABLES.items():
            if text := environ.get(variable, "").strip():
                found[name] = (template.format(text), f"${variable}")
    return found


def _has_files(root: Path, folder: str) -> bool:
    try:
        return any((root / folder.lstrip("/")).iterdir())
    except OSError:
        return False
