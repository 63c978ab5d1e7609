"""What a measurement is, and how its rounds become medians, ratios and verdicts.

A measurement is a module with NAME, TABLES and `rounds(place)`, which yields the rounds: each measures every
candidate once, back to back, so that other load on the machine affects all alike.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bench.places import Place

OURS = "drum-supervise"

Values = Mapping[str, float]  # by figure
Round = Mapping[str, Values]  # by candidate


@dataclass(frozen=True)
class Column:
    """One figure of all candidates in all rounds.

    Attributes:
        values: by candidate, then by round; None for a round without a value.
    """

    values: Mapping[str, tuple[float | None, ...]]

    def all_of(self, name: str) -> list[float]:
        return [value for value in self.values.get(name, ()) if value is not None]

    def median(self, name: str) -> float | None:
        found = self.all_of(name)
        return statistics.median(found) if found else None

    def paired(self, one: str, other: str, combine: Callable[[float, float], float]) -> float | None:
        """Return the median over the rounds of `combine` applied to both values of a round."""
        pairs = zip(self.values.get(one, ()), self.values.get(other, ()), strict=False)
        found = [combine(a, b) for a, b in pairs if a is not None and b is not None]
        return statistics.median(found) if found else None


@dataclass(frozen=True)
class Goal:
    """A goal for our figure, alone or relative to a peer's.

    Attributes:
        words: `{}` stands for the measured value.
        found: returns the value; None if a candidate could not be measured.
        limit: the maximum, or with `at_least` the minimum.
    """

    words: str
    found: Callable[[Column], float | None]
    limit: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Table:
    """One figure of a measurement.

    Attributes:
        what: its description.
        floor: the candidate that is not a supervisor but the lower bound.
        reference: the candidate to which the ratios refer.
        log: whether its bars have a logarithmic scale.
    """

    figure: str
    what: str
    unit: str
    goals: tuple[Goal, ...] = ()
    floor: str = ""
    reference: str = OURS
    log: bool = True


class Measurement(Protocol):
    NAME: str
    TABLES: tuple[Table, ...]
    ROUNDS: int  # 0: as many as requested

    def rounds(self, place: Place) -> Iterator[Round]: ...


def within(other: str, limit: float, name: str = OURS) -> Goal:
    """Require at most `limit` times the value of `other`."""
    return Goal(f"{{:.2f}} x {other}, at most {limit:g}", _ratio(name, other), limit)


def beats(other: str, factor: float = 1.0, name: str = OURS) -> Goal:
    """Require that `other` has at least `factor` times our value: a time, or memory."""
    return Goal(f"{{:.1f}} x faster than {other}, at least {factor:g}", _ratio(other, name), factor, at_least=True)


def above(other: str, limit: float, name: str = OURS) -> Goal:
    """Require at least `limit` times the value of `other`: a rate."""
    return Goal(f"{{:.3f}} x {other}, at least {limit:g}", _ratio(name, other), limit, at_least=True)


def plus(other: str, limit: float, unit: str, name: str = OURS) -> Goal:
    """Require at most `limit` more than `other`."""
    return Goal(
        f"{{:+.2f}} {unit} to {other}, at most +{limit:g}", lambda c: c.paired(name, other, lambda a, b: a - b), limit
    )


def at_most(limit: float, unit: str, of: Callable[[list[float]], float] = statistics.median, name: str = OURS) -> Goal:
    """Require at most `limit` for the median, or for another statistic of all values."""

    def found(column: Column) -> float | None:
        values = column.all_of(name)
        return of(values) if values else None

    return Goal(f"{{:.3g}} {unit}, at most {limit:g}", found, limit)


def _ratio(one: str, other: str) -> Callable[[Column], float | None]:
    return lambda column: column.paired(one, other, lambda a, b: a / b if b else math.inf)


def percentile(values: list[float], percent: float) -> float:
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def taking_turns(cases: Mapping[str, Callable[[], Values]]) -> Iterator[Round]:
    """Yield rounds in which each case is measured once; each round starts with another case."""
    names = list(cases)
    while True:
        yield {name: cases[name]() for name in names}
        names.append(names.pop(0))
