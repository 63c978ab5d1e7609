"""The machine, without its name, and the versions of all programs."""

import importlib.metadata
import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from bench.places import NEEDED_FROM_DEBIAN

PACKAGES = ("supervisor", "circus", "honcho", "gunicorn", "uvicorn", "granian", "psutil", "click")


def machine() -> dict[str, object]:
    return {
        "taken_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": _system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of the peers and of our dependencies, except missing ones."""
    found = {"drum_supervisor": importlib.metadata.version("drum_supervisor")}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    for package in NEEDED_FROM_DEBIAN:
        with suppress(OSError, subprocess.CalledProcessError):
            query = ["dpkg-query", "--show", "--showformat=${Version}", package]
            found[package] = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    return found


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    with suppress(OSError):
        if model := re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1]
    return platform.machine()


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.system()
