"""Numbers in the files of control groups; None when missing, unreadable or implausible.

The kernel documents them in admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

import math
from pathlib import Path

# In version 1 a number close to 2**63 means "no limit", and counters which went below 0 are close to 2**64.
IMPLAUSIBLE = 2**60
_MAX_CHARACTERS = 65536  # memory.stat has about 2,000


def read_number(file: Path) -> int | None:
    """Return the only number of a file."""
    try:
        return plausible(_parsed(read_text(file).strip()))
    except (OSError, ValueError):
        return None


def read_table(file: Path) -> dict[str, int]:
    """Return the lines `name number` of a file; empty when unreadable."""
    try:
        lines = read_text(file).splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.partition(" ")[::2] for line in lines)
    return {name: int(value) for name, value in pairs if _parsed(value) is not None}


def read_limit(file: Path) -> float | None:
    """Return a limit in bytes; infinity for "max", and for a group without the controller."""
    try:
        text = read_text(file).strip()
    except FileNotFoundError:
        return _unlimited_if_exists(file.parent)
    except (OSError, ValueError):
        return None
    number = math.inf if text == "max" else _parsed(text)
    return math.inf if number is not None and number >= IMPLAUSIBLE else number


def read_quota(directory: Path, version: int) -> float | None:
    """Return the CPU quota in processors; infinity without one."""
    try:
        quota, period = _quota_and_period(directory, version)
    except FileNotFoundError:
        return _unlimited_if_exists(directory)
    except (OSError, ValueError):
        return None
    return math.inf if quota in ("max", "-1") else _quotient(plausible(_parsed(quota)), plausible(_parsed(period)))


def read_period(directory: Path, version: int) -> int | None:
    """Return the period of the CPU quota in microseconds."""
    try:
        return plausible(_parsed(_quota_and_period(directory, version)[1]))
    except (OSError, ValueError):
        return None


def _quota_and_period(directory: Path, version: int) -> tuple[str, str]:
    if version == 2:
        quota, period = read_text(directory / "cpu.max").split()
        return quota, period
    return read_text(directory / "cpu.cfs_quota_us").strip(), read_text(directory / "cpu.cfs_period_us").strip()


def _unlimited_if_exists(directory: Path) -> float | None:
    return math.inf if directory.is_dir() else None


def _quotient(quota: int | None, period: int | None) -> float | None:
    return quota / period if quota and period else None


def plausible(number: int | None) -> int | None:
    """Return None in place of a number which means something else."""
    return number if number is not None and number < IMPLAUSIBLE else None


def _parsed(text: str) -> int | None:
    # as the kernel writes it: unlike int(), without sign, underscore or thousands of digits
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def read_text(file: Path) -> str:
    """Return the text of a file; OSError, ValueError: unreadable, not ASCII."""
    with open(file, encoding="ascii") as opened:
        return opened.read(_MAX_CHARACTERS)
