"""Curves in one line of text. Pure."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-:=+*#"
LONGEST_GAP = 65.0  # seconds; samples are a minute apart at most while there is something to sample


def levels_for(encoding: str | None) -> str:
    """Return the characters for a curve, from low to high, that this encoding has."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sparkline(times: Sequence[float], values: Sequence[float | None], width: int, levels: str = BLOCKS) -> str:
    """Draw values from 0 to the highest one, the oldest first: the highest of each stretch of time of equal length.

    Args:
        times: of the values, in seconds, rising; without new values for LONGEST_GAP there is a gap.
        width: how many characters at most.
    """
    known = [(time, value) for time, value in zip(times, values, strict=True) if value is not None]
    width = min(width, len(known))
    if not width:
        return ""
    first, last = known[0][0], known[-1][0]
    columns: list[float | None] = [None] * width
    for time, value in known:
        place = min(int((time - first) / (last - first) * width), width - 1) if last > first else 0
        columns[place] = max(columns[place] or 0.0, value)
    highest = max(value for _, value in known)
    return "".join(_character(value, highest, levels) for value in _held(columns, (last - first) / width))


def _held(columns: list[float | None], seconds: float) -> list[float | None]:
    """Let values last until there is another one, or for too long to be believed."""
    held: list[float | None] = []
    value, age = None, 0.0
    for column in columns:
        value, age = (value, age + seconds) if column is None else (column, 0.0)
        held.append(value if age <= LONGEST_GAP else None)
    return held


def _character(value: float | None, highest: float, levels: str) -> str:
    if value is None:
        return " "
    top = len(levels) - 1
    return levels[min(round(value / highest * top), top)] if highest > 0 else levels[0]
