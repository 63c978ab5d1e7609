"""The end of everything, in the order of priorities: what started last stops first, all within one time-out."""

from collections.abc import Callable

from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.programs.program import Programs


class Shutdown:
    """Stops what has the highest priority, then, when that is gone, what has the next one.

    Programs of ours have the priority of the model server. Usually all have the same, and are told at once.

    Args:
        timeout: seconds until KILL, for all together.
        stop: stops a program of ours, given the seconds until KILL.
    """

    def __init__(
        self,
        engine: Engine,
        programs: Programs,
        timers: Timers,
        timeout: float,
        stop: Callable[[str, float], None],
    ) -> None:
        self._engine = engine
        self._names = [program.name for program in programs.all]
        self._timers = timers
        self._until = timers.clock() + timeout
        self._stop = stop
        self._ours = engine.priority_of(programs.workers[0].name)
        self._to_come = engine.begin_stopping()
        self._present: int | None = None

    @property
    def has_stopped_ours(self) -> bool:
        """Whether our programs were asked to stop, or are gone."""
        return self._ours not in self._to_come

    def hurry(self) -> None:
        """Wait for nobody any more: everything is being killed."""
        self._to_come = []

    def turn(self) -> None:
        """Go on as far as possible."""
        while self._to_come and not self._is_left():
            self._present, *self._to_come = self._to_come
            left = max(self._until - self._timers.clock(), 0.0)
            self._engine.stop_others(self._present, left)
            for name in self._names if self._present == self._ours else ():
                self._stop(name, left)

    def _is_left(self) -> bool:
        if self._present is None:
            return False
        ours = self._present == self._ours and any(self._engine.run_of(name) for name in self._names)
        return ours or self._engine.others_left(self._present)
