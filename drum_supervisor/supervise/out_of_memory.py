"""Whether memory ran out while a program ran: the kernel counts whom it kills for that."""

from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.cgroup import read_groups, read_oom_kills
from drum_supervisor.cgroup_location import find_groups

_MIB = 1024 * 1024


@dataclass(frozen=True)
class OutOfMemory:
    """The kernel killed a process of the control group for want of memory.

    Attributes:
        limit_bytes: that was reached; None when it cannot be seen from here.
        peak_bytes: the most that was used below that limit; None before Linux 5.19 with version 2.
    """

    limit_bytes: int | None = None
    peak_bytes: int | None = None

    def sentence(self, seconds: float) -> str:
        """Return `out of memory: killed by the kernel at 512.0 MiB of 512.0 MiB, 3.2 s after start`."""
        figures = [f"{bytes_ / _MIB:.1f} MiB" for bytes_ in (self.peak_bytes, self.limit_bytes) if bytes_ is not None]
        where = f" at {' of '.join(figures)}" if self.limit_bytes is not None else ""
        return f"out of memory: killed by the kernel{where}, {seconds:.1f} s after start"


class MemoryWatch:
    """The control group of a run, found while it lives: the dead are in none.

    Args:
        pid: of the program, which has just been started.
        root: where /proc is.
    """

    def __init__(self, pid: int, root: Path = Path("/")) -> None:
        self._groups = find_groups(pid, root)
        self._kills = read_oom_kills(self._groups)

    def verdict(self) -> OutOfMemory | None:
        """Return what there is to say when the kernel has killed since the start; it may have been a neighbour."""
        kills = read_oom_kills(self._groups)
        if kills is None or kills <= (self._kills or 0):
            return None
        memory = read_groups(self._groups).memory
        if memory.limiting is not None:
            return OutOfMemory(memory.limiting.limit_bytes, memory.limiting.peak_bytes)
        return OutOfMemory(memory.limit_bytes, memory.peak_bytes)
