"""Stops the orphans that a program leaves when it exits, before another program takes its place."""

import signal
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.programs.program import MODEL_SERVER

EVERYTHING = "*"
RECHECK_SECONDS = 0.02


@dataclass(eq=False)
class Sweeper:
    """Stops orphans: TERM at once, KILL later."""

    # Every orphan is a child of the supervisor, so its exit wakes the loop by SIGCHLD: no polling.

    orphans: Callable[[], dict[int, str]]  # by pid, with the name of the program that left each, or ""
    timers: Timers
    timeout: float  # seconds between TERM and KILL
    unkillable: set[int] = field(default_factory=set)  # not even KILL is permitted (other user, setuid): not waited for
    _sweeping: dict[str, set[int]] = field(default_factory=dict)

    def sweep(self, name: str) -> None:
        """Start to stop the orphans of the program `name`, or of all: EVERYTHING."""
        self._sweeping.setdefault(name, set())

    def is_sweeping(self, name: str) -> bool:
        return name in self._sweeping

    def advance(self) -> bool:
        """At the end of a turn: look for orphans; return whether those of a program are all gone."""
        orphans = self.orphans() if self._sweeping else {}
        if proctree.UNKNOWN in orphans.values():
            self.timers.set((self, proctree.UNKNOWN), RECHECK_SECONDS, self.advance)
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
        orphans = self.orphans() if self._sweeping else {}
        for name in self._sweeping:
            self._signal(self._left_by(name, orphans), signal.SIGKILL)

    def _left_by(self, name: str, orphans: Mapping[int, str]) -> set[int]:
        # Without their descendants, which become orphans themselves when these exit.
        return {pid for pid, owner in orphans.items() if _belongs(owner, name)} - self.unkillable

    def _stop(self, name: str, left: set[int]) -> None:
        signalled = self._sweeping[name]
        new = left - signalled
        if not new:
            return
        if not signalled:
            self.timers.set((self, name), self.timeout, lambda: self._kill(name))
        signalled |= self._signal(new, signal.SIGTERM, signalled)

    def _kill(self, name: str) -> None:
        # Repeated, for processes that are forked meanwhile.
        self._signal(self._left_by(name, self.orphans()), signal.SIGKILL)
        self.timers.set((self, name), 1.0, lambda: self._kill(name))

    def _signal(self, roots: set[int], number: int, excluded: Set[int] = frozenset()) -> set[int]:
        pids = {pid for root in roots for pid in (root, *proctree.descendants(root))} - excluded - self.unkillable
        self.unkillable |= proctree.signal_each(pids, number)
        return pids


def _belongs(owner: str, name: str) -> bool:
    # An orphan whose environment names no program is the model server's: no other program clears its environment.
    if name == EVERYTHING or owner == name:
        return True
    return not owner and name.startswith(MODEL_SERVER)
