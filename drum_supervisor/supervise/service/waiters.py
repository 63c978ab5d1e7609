"""The clients that wait on the control socket for a change: long polls."""

from collections.abc import Callable

from drum_supervisor.supervise.engine.timers import Timers

WAKE_AFTER = 0.01  # seconds; supervisord retries a long poll after 5 ms at the earliest


class Waiters:
    """Counts changes, and has waiting clients answered: supervisord serves them on turns of its loop only."""

    def __init__(self, timers: Timers, wake: Callable[[], object]) -> None:
        self._timers = timers
        self._wake = wake
        self.serial = 0  # of the status: the number of changes
        self._answered = 0
        self.output_ready_at: float | None = None  # when output arrived which a waiting client has not fetched yet

    def note_change(self) -> None:
        """Note that `status` returns something new."""
        self.serial += 1

    def answer(self) -> None:
        """At the end of a turn: have waiting clients answered if something has changed."""
        if self.serial != self._answered:
            self._answered = self.serial
            self.answer_soon()

    def output_arrived(self) -> None:
        """Have the client answered that awaits output."""
        self.output_ready_at = self._timers.clock()
        self.answer_soon()

    def answer_soon(self) -> None:
        self._timers.set("waiters", WAKE_AFTER, self._wake)
