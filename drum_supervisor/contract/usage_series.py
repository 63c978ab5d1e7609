"""What a tree of processes used over time, up to a moment: the last minutes of one that failed."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Curve:
    """Parallel columns, the oldest point first.

    Attributes:
        seconds_before: how long before the end each point is.
        rss_bytes: resident memory of the whole tree; pages that several processes have count for each.
        working_set_bytes: of the control group, whatever else is in it; None where it was not known.
        cpu_percent: of one processor.
    """

    seconds_before: tuple[float, ...] = ()
    rss_bytes: tuple[int, ...] = ()
    working_set_bytes: tuple[int | None, ...] = ()
    cpu_percent: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Curve":
        """Read what JSON made of the fields.

        Raises:
            ValueError, TypeError, KeyError: it is no such record.
        """
        columns = {field.name: tuple(record[field.name]) for field in fields(cls)}
        if not all(isinstance(value, int | float | None) for column in columns.values() for value in column):
            raise TypeError("a curve has values that are no numbers")
        if len({len(column) for column in columns.values()}) != 1:
            raise ValueError("a curve has columns of different length")
        return cls(**columns)
