"""Deadlines for blocking calls, all watched by one thread. Standard library only."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Deadlines:
    """Calls a function when a block takes too long. Unlike `threading.Timer` it needs one thread for all blocks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[object, tuple[float, Callable[[], None]]] = {}
        self._next = math.inf
        self._watch: threading.Thread | None = None  # started on first use: it would not survive a fork

    @contextmanager
    def after(self, seconds: float, call: Callable[[], None]) -> Iterator[None]:
        """Call `call` from the watching thread if the block takes longer than `seconds`; `call` must not block."""
        key, deadline = object(), time.monotonic() + seconds
        with self._changed:
            self._calls[key] = (deadline, call)
            if self._watch is None:
                self._watch = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._watch.start()
            if deadline < self._next:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.pop(key, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key in [key for key, (deadline, _) in self._calls.items() if deadline <= now]:
                    self._calls.pop(key)[1]()
                self._next = min((deadline for deadline, _ in self._calls.values()), default=math.inf)
                self._changed.wait(None if self._next == math.inf else self._next - now)
