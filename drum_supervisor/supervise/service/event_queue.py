"""The events that await a decision of the policy: observers put them, the loop takes them at the end of a turn."""

from collections import deque
from collections.abc import Callable, Iterator

from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.policy.events import Event


class EventQueue:
    """A queue of events; `wake` ends the poll, so that the loop takes a new event without delay."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._events: deque[tuple[Event, Run | None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event, about: Run | None = None) -> None:
        self._events.append((event, about))
        self._wake()

    def take(self) -> Iterator[tuple[Event, Run | None]]:
        """Yield the events that are not void, until the queue is empty; more may be put meanwhile."""
        while self._events:
            event, about = self._events.popleft()
            if about is None or not about.stale:
                yield event, about

    def contains(self, kind: type[Event], worker: int) -> bool:
        return any(isinstance(event, kind) and getattr(event, "worker", None) == worker for event, _ in self._events)
