"""The processes that were left to us: our children that we did not start. Each is looked at once, however many come."""

import os
from collections.abc import Container

from drum_supervisor.resources import proctree


class Orphans:
    """Our orphans, with the program that each comes from.

    Args:
        guard: a child that is no orphan either.
    """

    def __init__(self, guard: int = 0) -> None:
        self._guard = guard
        self._programs: dict[int, str] = {}

    def look(self, started: Container[int]) -> dict[int, str]:
        """Return them with the name of their program, "" or UNKNOWN.

        One that has died since it was looked at first is among them until it is reaped.

        Args:
            started: the processes that are no orphans.
        """
        here = [pid for pid in proctree.children(os.getpid()) if pid not in started and pid != self._guard]
        found = {pid: self._programs[pid] for pid in here if pid in self._programs}
        found.update(
            (pid, proctree.program_of(pid)) for pid in here if pid not in found and not proctree.is_zombie(pid)
        )
        self._programs = {pid: program for pid, program in found.items() if program != proctree.UNKNOWN}
        return found

    def forget(self, pid: int) -> None:
        """Forget one that was reaped: its number may come again."""
        self._programs.pop(pid, None)
