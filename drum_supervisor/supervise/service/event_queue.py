"""Events on their way to the policy: observers put them here, the loop takes them at the end of a turn."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from drum_supervisor.supervise.policy.events import Event


class Subject(Protocol):
    """What an event is about; once it is stale, the event is void."""

    stale: bool


SubjectT = TypeVar("SubjectT", bound=Subject)


class EventQueue(Generic[SubjectT]):
    """The events that are not decided on yet, oldest first.

    Args:
        wake: ends the poll, so that the loop takes the event without delay.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._events: deque[tuple[Event, SubjectT | None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event, about: SubjectT | None = None) -> None:
        self._events.append((event, about))
        self._wake()

    def take(self) -> Iterator[tuple[Event, SubjectT | None]]:
        """Yield the events that still count, until the queue is empty; some may be put meanwhile."""
        while self._events:
            event, about = self._events.popleft()
            if about is None or not about.stale:
                yield event, about

    def contains(self, kind: type[Event], worker: int) -> bool:
        """Return whether an event of this kind about a worker waits here."""
        return any(isinstance(event, kind) and getattr(event, "worker", None) == worker for event, _ in self._events)
