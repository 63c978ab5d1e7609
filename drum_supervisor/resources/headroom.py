"""Whether there is room in the memory limit for one more copy of a worker."""

from collections.abc import Iterable
from dataclasses import dataclass

from drum_supervisor.config.parsers import format_size
from drum_supervisor.resources import proctree
from drum_supervisor.resources.cgroup import read_cgroup


@dataclass(frozen=True)
class Headroom:
    """What a second copy needs, from what the largest worker uses now, and what is free, in bytes."""

    needed: int
    free: int
    limit: int

    @property
    def is_enough(self) -> bool:
        return self.needed <= self.free

    @property
    def sentence(self) -> str:
        return (
            f"two copies do not fit: a worker uses {format_size(self.needed)}, "
            f"and of the memory limit of {format_size(self.limit)} {format_size(self.free)} are free"
        )


def headroom(workers: Iterable[int]) -> Headroom | None:
    """Return the headroom for a copy of one of these processes; None without a limit, or when usage is unknown.

    Free is the limit less the working set: the page cache can be reclaimed.
    """
    used = {pid: memory for pid in workers if (memory := proctree.read_tree_rss(pid))}
    if not used:
        return None
    group = read_cgroup(next(iter(used))).memory
    if group.limit_bytes is None or group.working_set_bytes is None:
        return None
    return Headroom(max(used.values()), max(group.limit_bytes - group.working_set_bytes, 0), group.limit_bytes)
