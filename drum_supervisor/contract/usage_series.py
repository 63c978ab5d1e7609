"""Resource usage of a process tree over time: the last minutes before a failure."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class UsageSeries:
    """Parallel columns, oldest point first."""

    seconds_before: tuple[float, ...] = ()  # from each point to the end
    rss_bytes: tuple[int, ...] = ()  # sum over the tree; shared pages count once per process
    working_set_bytes: tuple[int | None, ...] = ()  # of the whole control group; None where unknown
    cpu_percent: tuple[float, ...] = ()  # of one processor

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "UsageSeries":
        """Read the fields from JSON; an invalid record raises ValueError, TypeError or KeyError."""
        columns = {field.name: tuple(record[field.name]) for field in fields(cls)}
        if not all(isinstance(value, int | float | None) for column in columns.values() for value in column):
            raise TypeError("not all values are numbers")
        if len({len(column) for column in columns.values()}) != 1:
            raise ValueError("the columns differ in length")
        return cls(**columns)
