"""Who waits on the control socket for something new: whether there is any, and that supervisord looks at them again."""

from collections.abc import Callable

from drum_supervisor.supervise.engine.timers import Timers

TELL_AFTER = 0.01  # supervisord looks again at who waits for a change on the control socket (`wait`) after 5 ms


class Waiters:
    """What has changed since the last turn of the loop.

    Args:
        wake: ends the poll, so that there is another turn.

    Attributes:
        serial: how often `status` would have said something new.
        output_awaited_at: since when somebody waits for output, by the timers' clock; None while nobody does.
    """

    def __init__(self, timers: Timers, wake: Callable[[], object]) -> None:
        self._timers = timers
        self._wake = wake
        self.serial = 0
        self._told = 0
        self.output_awaited_at: float | None = None

    def note(self) -> None:
        """Note that `status` would say something new."""
        self.serial += 1

    def are_told(self) -> bool:
        """At the end of a turn: have those looked at who wait for a change; return whether there was one."""
        if self.serial == self._told:
            return False
        self._told = self.serial
        self.tell_soon()
        return True

    def output_awaited(self) -> None:
        """There is output that somebody waits for on the control socket."""
        self.output_awaited_at = self._timers.clock()
        self.tell_soon()

    def tell_soon(self) -> None:
        """Have supervisord look again at who waits on the control socket."""
        self._timers.set("tell", TELL_AFTER, self._wake)
