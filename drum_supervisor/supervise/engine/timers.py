"""Reminders by key: at most one each, on a clock that the caller reads."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class Timers:
    """What is due when. Few are set at a time, so a dictionary beats a heap.

    Attributes:
        clock: monotonic seconds.
    """

    clock: Callable[[], float]
    _due: dict[Hashable, tuple[float, Callable[[], object]]] = field(default_factory=dict)

    def set(self, key: Hashable, after: float, call: Callable[[], object]) -> None:
        """Call `call` in `after` seconds; a reminder of the same key is replaced."""
        self._due[key] = (self.clock() + after, call)

    def cancel(self, key: Hashable) -> None:
        """Forget a reminder, if there is one."""
        self._due.pop(key, None)

    def at(self, key: Hashable) -> float | None:
        """Return when the reminder is due, None when there is none."""
        return self._due[key][0] if key in self._due else None

    def ring(self) -> None:
        """Call all that is due, the earliest first; each is forgotten before it is called."""
        now = self.clock()
        due = sorted((at, number, key) for number, (key, (at, _)) in enumerate(self._due.items()) if at <= now)
        for _, _, key in due:
            if key in self._due and self._due[key][0] <= now:
                self._due.pop(key)[1]()

    def seconds_left(self) -> float:
        """Return the time until the next reminder; infinite without any."""
        if not self._due:
            return float("inf")
        return max(min(at for at, _ in self._due.values()) - self.clock(), 0.0)
