"""Reading values that people write: each function takes the text and raises ValueError with what is accepted.

And writing sizes for them.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

YES = ("1", "true", "t", "yes", "y", "on")
NO = ("0", "false", "f", "no", "n", "off")
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def text(value: str) -> str:
    return value


def words(value: str) -> tuple[str, ...]:
    """Split on white space, as DRUM reads class labels."""
    return tuple(value.split())


def switch(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered not in YES + NO:
        raise ValueError(f"write one of {', '.join(YES)} or one of {', '.join(NO)}")
    return lowered in YES


def whole_number(lowest: int, highest: int, auto: int | None = None) -> Callable[[str], int]:
    """Return a reader of whole numbers from `lowest` to `highest`; with `auto`, that stands for the word."""

    def read(value: str) -> int:
        # JSON writes a numeric runtime parameter as 2 or 2.0; both are two.
        stripped = value.strip().removesuffix(".0")
        if auto is not None and stripped.lower() == "auto":
            return auto
        if not re.fullmatch(r"-?[0-9]{1,18}", stripped) or not lowest <= int(stripped) <= highest:
            also = " or auto" if auto is not None else ""
            raise ValueError(f"give a whole number from {lowest} to {highest}{also}")
        return int(stripped)

    return read


def status_with_body(value: str) -> int:
    """Read an HTTP status from 200 to 599 that has a body."""
    status = whole_number(200, 599)(value)
    if status in (204, 205, 304):
        raise ValueError("give a status that has a body, like 200 or 503")
    return status


def seconds(value: str) -> float:
    """Read a duration in seconds, not negative."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 10**9:  # false for NaN too
        raise ValueError("give seconds, like 30 or 0.5")
    return number


def seconds_from(least: float) -> Callable[[str], float]:
    """Return a reader of durations that are not shorter than `least` seconds."""

    def read(value: str) -> float:
        number = seconds(value)
        if number < least:
            raise ValueError(f"give seconds, {least:g} or more")
        return number

    return read


def seconds_up_to(most: float) -> Callable[[str], float]:
    """Return a reader of durations that are not longer than `most` seconds."""

    def read(value: str) -> float:
        number = seconds(value)
        if number > most:
            raise ValueError(f"give seconds, from 0 to {most:g}")
        return number

    return read


def byte_size(value: str) -> int:
    """Read a number of bytes: 1048576, 512K, 100M, 2GB, 1.5GiB (units are powers of 1024)."""
    match = re.fullmatch(r"\s*([0-9]{1,30}(?:\.[0-9]{1,6})?)\s*([KMG]?)(?:iB|B)?\s*", value, re.IGNORECASE | re.ASCII)
    if not match:
        raise ValueError("give a size like 100M, 512K or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True)
class Share:
    """An amount of memory: bytes, or a percentage of a limit; 0 of both: none is named."""

    bytes: int = 0
    percent: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.bytes or self.percent)

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent else str(self.bytes)

    def of(self, limit: int | None) -> int | None:
        """Return the bytes; None for a percentage of nothing."""
        if not self.percent:
            return self.bytes
        return None if limit is None else int(limit * self.percent / 100)


def share(value: str) -> Share:
    """Read an amount of memory: 512M, or 80%."""
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", value, re.ASCII)
    if match and 0 < float(match[1]) <= 100:
        return Share(percent=float(match[1]))
    try:
        return Share(byte_size(value))
    except ValueError:
        raise ValueError("give a size like 2G, or a percentage like 80%") from None


def choice(*allowed: str, **aliases: str) -> Callable[[str], str]:
    """Return a reader that takes one of `allowed`, or an alias of one, in upper or lower case."""

    def read(value: str) -> str:
        lowered = value.strip().lower()
        found = aliases.get(lowered, lowered)
        if found not in allowed:
            raise ValueError(f"choose from {', '.join((*allowed, *aliases))}")
        return found

    return read


def url_path(value: str) -> str:
    """Read the path of a URL as it is sent: it starts with a slash; space and all beyond ASCII are %-encoded."""
    if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("give a path like /ping")
    return value


def url_prefix(value: str) -> str:
    """Read a prefix for all paths; `/`, `v1`, `/v1/` become ``, `/v1`, `/v1`."""
    stripped = value.strip("/")
    if any(c.isspace() or c in "?#%{}<>" for c in stripped):
        raise ValueError("give a plain path like /v1/models/a")
    return f"/{stripped}" if stripped else ""


def size(number: int) -> str:
    """Return bytes as `12.3 MiB`."""
    return f"{number / 1024**2:.1f} MiB" if number < 1024**3 else f"{number / 1024**3:.2f} GiB"
