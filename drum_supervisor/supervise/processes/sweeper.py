"""What a program leaves behind when it dies: found, stopped, and waited for, before anything takes its place."""

import signal
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.programs.program import MODEL_SERVER

EVERYTHING = "*"
SOON = 0.02


@dataclass(eq=False)
class Sweeper:
    """Sweeps up orphans: TERM at once, KILL after a while.

    Every orphan is our child, so its death wakes the loop by SIGCHLD; nothing is polled.

    Attributes:
        orphans: returns the processes left to us, with the name of the program each comes from, or "".
        timeout: seconds between TERM and KILL.
        untouchable: processes that even KILL is not permitted for (of another user, setuid): nobody waits for them.
    """

    orphans: Callable[[], dict[int, str]]
    timers: Timers
    timeout: float
    untouchable: set[int] = field(default_factory=set)
    _sweeping: dict[str, set[int]] = field(default_factory=dict)

    def sweep(self, name: str) -> None:
        """Begin to sweep up after the program `name`, or after all of them: EVERYTHING."""
        self._sweeping.setdefault(name, set())

    def is_sweeping(self, name: str) -> bool:
        return name in self._sweeping

    def turn(self) -> bool:
        """Look what is left, at the end of each turn of the loop; return whether all is gone of some program."""
        orphans = self.orphans() if self._sweeping else {}
        if proctree.UNKNOWN in orphans.values():
            self.timers.set((self, proctree.UNKNOWN), SOON, self.turn)
        swept = False
        for name in list(self._sweeping):
            left = self._left_by(name, orphans)
            if left:
                self._stop(name, left)
            else:
                del self._sweeping[name]
                self.timers.cancel((self, name))
                swept = swept or name != EVERYTHING
        return swept

    def kill(self) -> None:
        """Kill at once all that is being swept up."""
        orphans = self.orphans() if self._sweeping else {}
        for name in self._sweeping:
            self._signal(self._left_by(name, orphans), signal.SIGKILL)

    def _left_by(self, name: str, orphans: Mapping[int, str]) -> set[int]:
        """Return the orphans of `name`. What they have started is not left without them: it is one when they go."""
        return {pid for pid, owner in orphans.items() if _belongs(owner, name)} - self.untouchable

    def _stop(self, name: str, left: set[int]) -> None:
        told = self._sweeping[name]
        new = left - told
        if not new:
            return
        if not told:
            self.timers.set((self, name), self.timeout, lambda: self._kill(name))
        told |= self._signal(new, signal.SIGTERM, told)

    def _kill(self, name: str) -> None:
        """Kill what is left, and what is forked meanwhile a second later."""
        self._signal(self._left_by(name, self.orphans()), signal.SIGKILL)
        self.timers.set((self, name), 1.0, lambda: self._kill(name))

    def _signal(self, roots: set[int], number: int, told: Set[int] = frozenset()) -> set[int]:
        """Send a signal to all in these trees that are not told yet; return who they are."""
        pids = {pid for root in roots for pid in (root, *proctree.descendants(root))} - told - self.untouchable
        self.untouchable |= proctree.signal_each(pids, number)
        return pids


def _belongs(owner: str, name: str) -> bool:
    """An orphan whose environment names no program is the model server's: ours do not hide."""
    if name == EVERYTHING or owner == name:
        return True
    return not owner and name.startswith(MODEL_SERVER)
