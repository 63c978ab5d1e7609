"""Timers by key, at most one each, on a clock that the caller reads."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class Timers:
    """Timers on `clock`, in monotonic seconds. Few are set at a time, so a dictionary beats a heap."""

    clock: Callable[[], float]
    _due: dict[Hashable, tuple[float, Callable[[], object]]] = field(default_factory=dict)

    def set(self, key: Hashable, after: float, call: Callable[[], object]) -> None:
        self._due[key] = (self.clock() + after, call)

    def cancel(self, key: Hashable) -> None:
        self._due.pop(key, None)

    def at(self, key: Hashable) -> float | None:
        """Return when the timer is due; None if it is not set."""
        return self._due[key][0] if key in self._due else None

    def ring(self) -> None:
        """Call all due timers, the earliest first; each is removed before its call."""
        now = self.clock()
        due = sorted((at, number, key) for number, (key, (at, _)) in enumerate(self._due.items()) if at <= now)
        for _, _, key in due:
            if key in self._due and self._due[key][0] <= now:
                self._due.pop(key)[1]()

    def seconds_left(self) -> float:
        if not self._due:
            return float("inf")
        return max(min(at for at, _ in self._due.values()) - self.clock(), 0.0)
