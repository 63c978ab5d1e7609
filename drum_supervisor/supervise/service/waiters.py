"""The clients that wait on the control socket for a change (long polls)."""

from collections.abc import Callable

from drum_supervisor.supervise.engine.timers import Timers

WAKE_AFTER = 0.01  # seconds; supervisord calls the answer of a long poll again 5 ms later at the earliest


class Waiters:
    """What has changed since the last turn of the loop, for the clients that wait for it.

    Args:
        wake: ends the poll: supervisord looks at waiting clients on turns of its loop only.

    Attributes:
        serial: how often `status` would have said something new.
        output_awaited_at: since when a client waits for output, by the timers' clock; None while none does.
    """

    def __init__(self, timers: Timers, wake: Callable[[], object]) -> None:
        self._timers = timers
        self._wake = wake
        self.serial = 0
        self._answered = 0
        self.output_awaited_at: float | None = None

    def note_change(self) -> None:
        """Note that `status` would say something new."""
        self.serial += 1

    def answer(self) -> bool:
        """At the end of a turn: have waiting clients answered if something has changed; return whether it has."""
        if self.serial == self._answered:
            return False
        self._answered = self.serial
        self.answer_soon()
        return True

    def output_arrived(self) -> None:
        """There is output that a client waits for."""
        self.output_awaited_at = self._timers.clock()
        self.answer_soon()

    def answer_soon(self) -> None:
        """Have supervisord look at the waiting clients again."""
        self._timers.set("waiters", WAKE_AFTER, self._wake)
