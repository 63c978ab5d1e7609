"""Parsers for values that people write: each takes the text, and raises ValueError with what it accepts."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

YES = ("1", "true", "t", "yes", "y", "on")
NO = ("0", "false", "f", "no", "n", "off")
MAX_WORKERS = 199
RUNTIME_PARAMETER_PREFIX = "MLOPS_RUNTIME_PARAM_"
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def parse_runtime_parameter(text: str) -> str:
    """Return the payload of a DRUM runtime parameter: JSON with `type` and `payload`, or the plain text itself."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(record, dict) and "payload" in record:
        payload = record["payload"]
        return "" if payload is None else str(payload)
    return text


def text(value: str) -> str:
    return value


def words(value: str) -> tuple[str, ...]:
    """Split on white space, as DRUM reads class labels."""
    return tuple(value.split())


def boolean(value: str) -> bool:
    lowered = value.strip().lower()
    if lowered not in YES + NO:
        raise ValueError(f"write one of {', '.join(YES)} or one of {', '.join(NO)}")
    return lowered in YES


def integer(lowest: int, highest: int, auto: int | None = None) -> Callable[[str], int]:
    """Return a parser of integers in a range; `auto` is the number for the word `auto`, None to refuse the word."""

    def parse(value: str) -> int:
        stripped = value.strip().removesuffix(".0")  # JSON writes a numeric runtime parameter as 2 or 2.0
        if auto is not None and stripped.lower() == "auto":
            return auto
        if not re.fullmatch(r"-?[0-9]{1,18}", stripped) or not lowest <= int(stripped) <= highest:
            or_auto = " or auto" if auto is not None else ""
            raise ValueError(f"give a whole number from {lowest} to {highest}{or_auto}")
        return int(stripped)

    return parse


def status_with_body(value: str) -> int:
    """Parse an HTTP status from 200 to 599 whose answer has a body."""
    status = integer(200, 599)(value)
    if status in (204, 205, 304):
        raise ValueError("give a status that has a body, like 200 or 503")
    return status


def seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 10**9:  # false for NaN too
        raise ValueError("give seconds, like 30 or 0.5")
    return number


def seconds_at_least(lowest: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        number = seconds(value)
        if number < lowest:
            raise ValueError(f"give seconds, {lowest:g} or more")
        return number

    return parse


def seconds_up_to(highest: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        number = seconds(value)
        if number > highest:
            raise ValueError(f"give seconds, from 0 to {highest:g}")
        return number

    return parse


def byte_size(value: str) -> int:
    """Parse a number of bytes: 1048576, 512K, 100M, 2GB, 1.5GiB (units are powers of 1024)."""
    match = re.fullmatch(r"\s*([0-9]{1,30}(?:\.[0-9]{1,6})?)\s*([KMG]?)(?:iB|B)?\s*", value, re.IGNORECASE | re.ASCII)
    if not match:
        raise ValueError("give a size like 100M, 512K or 2G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@dataclass(frozen=True)
class MemoryAmount:
    """An amount of memory, in bytes or as a percentage of a limit; both 0: no amount."""

    bytes: int = 0
    percent: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.bytes or self.percent)

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent else str(self.bytes)

    def of(self, limit: int | None) -> int | None:
        """Return the amount in bytes; None for a percentage without a limit."""
        if not self.percent:
            return self.bytes
        return None if limit is None else int(limit * self.percent / 100)


def memory_amount(value: str) -> MemoryAmount:
    """Parse an amount of memory: 512M, or 80%."""
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", value, re.ASCII)
    if match and 0 < float(match[1]) <= 100:
        return MemoryAmount(percent=float(match[1]))
    try:
        return MemoryAmount(byte_size(value))
    except ValueError:
        raise ValueError("give a size like 2G, or a percentage like 80%") from None


def choice(*allowed: str, **aliases: str) -> Callable[[str], str]:
    """Return a parser of `allowed` and their `aliases`, in upper or lower case."""

    def parse(value: str) -> str:
        lowered = value.strip().lower()
        found = aliases.get(lowered, lowered)
        if found not in allowed:
            raise ValueError(f"choose from {', '.join((*allowed, *aliases))}")
        return found

    return parse


def url_path(value: str) -> str:
    """Parse the path of a URL as a request line has it: a slash first, spaces and non-ASCII percent-encoded."""
    if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("give a path like /ping")
    return value


def url_prefix(value: str) -> str:
    """Parse a prefix for all paths; `/`, `v1`, `/v1/` become ``, `/v1`, `/v1`."""
    stripped = value.strip("/")
    if any(c.isspace() or c in "?#%{}<>" for c in stripped):
        raise ValueError("give a plain path like /v1/models/a")
    return f"/{stripped}" if stripped else ""


def format_size(number: int) -> str:
    """Format bytes as `12.3 MiB` or `1.50 GiB`."""
    return f"{number / 1024**2:.1f} MiB" if number < 1024**3 else f"{number / 1024**3:.2f} GiB"
