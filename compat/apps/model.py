"""The model of all Python servers here: it doubles a number, or fails as $COMPAT_MODEL says."""

import os
import threading

KIND = os.environ.get("COMPAT_MODEL", "good")

if KIND == "import":
    raise RuntimeError("the model module is broken")


def load() -> float:
    """Return the factor that requests are multiplied by."""
    if KIND == "load":
        raise RuntimeError("the weights are not there")
    if KIND == "hang":
        threading.Event().wait()
    return 2.0
