"""Profiles: named sets of other defaults, and what a platform says in its own words. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

PROFILES: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "sagemaker": {"code_dir": "/opt/ml/model", "while_starting": "respond"},
    # respond: /livez must have an answer also while a model loads again after a crash, or the pod is killed for it
    "kubernetes": {"while_starting": "respond", "failed_ping": "503"},
}

# Where DRUM's images have their model. In an image that is made for SageMaker too, either may be filled.
DRUM_CODE_DIR = "/opt/code"

# What SageMaker's own model servers are told by, and which setting that is.
_SAGEMAKER_VARIABLES = {
    "SAGEMAKER_BIND_TO_PORT": ("address", "0.0.0.0:{}"),
    "SAGEMAKER_MODEL_SERVER_WORKERS": ("workers", "{}"),
    "SAGEMAKER_MODEL_SERVER_TIMEOUT": ("request_timeout", "{}"),
}


def values(profile: str, environ: Mapping[str, str], root: Path = Path("/")) -> dict[str, tuple[str, str]]:
    """Return the text and the source of each setting that the profile decides.

    Args:
        environ: the environment, for the variables of the profile's platform.
        root: of the file system in which model folders are looked for.
    """
    found = {name: (text, f"profile {profile}") for name, text in PROFILES[profile].items()}
    if profile == "sagemaker":
        if not _has_files(root, found["code_dir"][0]) and _has_files(root, DRUM_CODE_DIR):
            found["code_dir"] = (DRUM_CODE_DIR, f"profile {profile}")
        for variable, (name, form) in _SAGEMAKER_VARIABLES.items():
            if text := environ.get(variable, "").strip():
                found[name] = (form.format(text), f"${variable}")
    return found


def _has_files(root: Path, folder: str) -> bool:
    try:
        return any((root / folder.lstrip("/")).iterdir())
    except OSError:
        return False
