"""Resource usage of a process tree over time: the last minutes before a failure."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class UsageSeries:
    """Parallel columns, oldest point first; ValueError: they differ in length."""

    seconds_before: Annotated[tuple[float, ...], "from each point to the failure"]
    rss_bytes: Annotated[tuple[int, ...], "sum over the tree; shared pages count once per process"]
    working_set_bytes: Annotated[tuple[int | None, ...], "of the whole control group; null where unknown"]
    cpu_percent: Annotated[tuple[float, ...], "of one processor"]

    def __post_init__(self) -> None:
        if len({len(column) for column in vars(self).values()}) != 1:
            raise ValueError("the columns differ in length")
