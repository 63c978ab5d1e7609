"""Sparklines: time series in one line of text. Pure."""

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-:=+*#"
MAX_GAP = 65.0  # seconds; while there is something to sample, samples are at most a minute apart


def levels_for(encoding: str | None) -> str:
    """Return the characters of a sparkline, from low to high, that this encoding can express."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sparkline(times: Sequence[float], values: Sequence[float | None], width: int, levels: str = BLOCKS) -> str:
    """Draw values, oldest first, scaled from 0 to the highest; a column is the highest value of its interval.

    Args:
        times: of the values, in seconds, ascending. More than MAX_GAP without a value leaves a gap.
        width: the largest number of characters.
    """
    known = [(time, value) for time, value in zip(times, values, strict=True) if value is not None]
    width = min(width, len(known))
    if not width:
        return ""
    first, last = known[0][0], known[-1][0]
    columns: list[float | None] = [None] * width
    for time, value in known:
        index = min(int((time - first) / (last - first) * width), width - 1) if last > first else 0
        columns[index] = max(columns[index] or 0.0, value)
    highest = max(value for _, value in known)
    return "".join(_character(value, highest, levels) for value in _fill_gaps(columns, (last - first) / width))


def _fill_gaps(columns: list[float | None], seconds: float) -> list[float | None]:
    """Repeat a value until the next one, for at most MAX_GAP; a column covers `seconds`."""
    filled: list[float | None] = []
    value, age = None, 0.0
    for column in columns:
        value, age = (value, age + seconds) if column is None else (column, 0.0)
        filled.append(value if age <= MAX_GAP else None)
    return filled


def _character(value: float | None, highest: float, levels: str) -> str:
    if value is None:
        return " "
    top = len(levels) - 1
    return levels[min(round(value / highest * top), top)] if highest > 0 else levels[0]
