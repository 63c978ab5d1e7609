"""What a measurement is, and how its rounds become medians, ratios and verdicts.

A measurement is a module with NAME, TABLES and `rounds(place)`, which yields one round after the other: in each
round everyone is measured once, one right after the other, so that what else the machine does meets all of them.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from bench.places import Place

OURS = "drum-supervise"

Values = Mapping[str, float]  # by figure
Round = Mapping[str, Values]  # by who was measured


@dataclass(frozen=True)
class Column:
    """One figure of everyone, in all rounds.

    Attributes:
        values: by who was measured, by round; None where a round has no value.
    """

    values: Mapping[str, tuple[float | None, ...]]

    def all_of(self, name: str) -> list[float]:
        return [value for value in self.values.get(name, ()) if value is not None]

    def median(self, name: str) -> float | None:
        found = self.all_of(name)
        return statistics.median(found) if found else None

    def paired(self, one: str, other: str, combine: Callable[[float, float], float]) -> float | None:
        """Return the median over the rounds of what is made of two values of the same round."""
        pairs = zip(self.values.get(one, ()), self.values.get(other, ()), strict=False)
        found = [combine(a, b) for a, b in pairs if a is not None and b is not None]
        return statistics.median(found) if found else None


@dataclass(frozen=True)
class Goal:
    """What is wanted of our figure, beside `other`'s or by itself.

    Attributes:
        words: `{}` stands for the value that was found.
        found: returns the value; None when somebody could not be measured.
        limit: the most it may be, or the least with `at_least`.
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
        what: it is, for people.
        floor: who is no supervisor, but what cannot be undercut.
        reference: whose values the ratios are to.
        log: whether bars of such a figure are drawn on a logarithmic scale.
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
    ROUNDS: int  # how many of them; 0: as many as were asked for

    def rounds(self, place: Place) -> Iterator[Round]: ...


def within(other: str, limit: float, name: str = OURS) -> Goal:
    """Want at most `limit` times what `other` has."""
    return Goal(f"{{:.2f}} x {other}, at most {limit:g}", _ratio(name, other), limit)


def beats(other: str, factor: float = 1.0, name: str = OURS) -> Goal:
    """Want `other` to have at least `factor` times what we have: a time, or memory."""
    return Goal(f"{{:.1f}} x faster than {other}, at least {factor:g}", _ratio(other, name), factor, at_least=True)


def above(other: str, limit: float, name: str = OURS) -> Goal:
    """Want at least `limit` times what `other` has: a rate."""
    return Goal(f"{{:.3f}} x {other}, at least {limit:g}", _ratio(name, other), limit, at_least=True)


def plus(other: str, limit: float, unit: str, name: str = OURS) -> Goal:
    """Want at most `limit` more than `other` has."""
    return Goal(
        f"{{:+.2f}} {unit} to {other}, at most +{limit:g}", lambda c: c.paired(name, other, lambda a, b: a - b), limit
    )


def at_most(limit: float, unit: str, of: Callable[[list[float]], float] = statistics.median, name: str = OURS) -> Goal:
    """Want at most `limit`, by the median or another figure of all values."""

    def found(column: Column) -> float | None:
        values = column.all_of(name)
        return of(values) if values else None

    return Goal(f"{{:.3g}} {unit}, at most {limit:g}", found, limit)


def _ratio(one: str, other: str) -> Callable[[Column], float | None]:
    return lambda column: column.paired(one, other, lambda a, b: a / b if b else math.inf)


def percentile(values: list[float], percent: float) -> float:
    """Return the value that so many percent do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def taking_turns(cases: Mapping[str, Callable[[], Values]]) -> Iterator[Round]:
    """Yield rounds in which each case is measured once; another one begins in each."""
    names = list(cases)
    while True:
        yield {name: cases[name]() for name in names}
        names.append(names.pop(0))
