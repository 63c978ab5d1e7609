"""Cells and lines of text for people."""

from collections.abc import Iterable, Sequence

from drum_supervisor.config.parsers import format_size

UNKNOWN = "-"


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line per row, with the cells in columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """Format as `3.2 s`, `4 min 5 s`, `2 h 3 min` or `5 d 6 h`."""
    if seconds < 59.95:  # more is rounded to 60.0
        return f"{max(seconds, 0.0):.1f} s"
    seconds = max(seconds, 60.0)
    for unit, name, below, smaller in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        if seconds < unit * 60 or name == "d":
            return f"{seconds // unit:.0f} {name} {seconds % unit // below:.0f} {smaller}"
    raise AssertionError("unreachable")


def size_text(number: float | None) -> str:
    return UNKNOWN if number is None else format_size(int(number))


def percent(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:.1f} %"


def strip_controls(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)
