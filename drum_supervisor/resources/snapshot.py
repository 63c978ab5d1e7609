"""Resource usage of a process tree at one moment."""

from dataclasses import dataclass, field

from drum_supervisor.resources.cgroup import Cgroup
from drum_supervisor.resources.process_reader import ProcessResources


@dataclass(frozen=True)
class ResourceSnapshot:
    """A process tree, the root first, and the control group of the root. Without processes: the root is gone."""

    taken_at: float
    processes: tuple[ProcessResources, ...]
    cgroup: Cgroup = field(default_factory=Cgroup)

    @property
    def memory_bytes(self) -> int:
        """Resident memory with shared pages counted once: the sum of PSS, or RSS where PSS is unknown."""
        return sum(process.rss_bytes if process.pss_bytes is None else process.pss_bytes for process in self.processes)

    @property
    def counts_shared_once(self) -> bool:
        """Whether `memory_bytes` is the sum of PSS alone, without a page counted twice."""
        return all(process.pss_bytes is not None for process in self.processes)

    @property
    def rss_bytes(self) -> int:
        """The sum of RSS; shared pages count once per process."""
        return sum(process.rss_bytes for process in self.processes)

    @property
    def cpu_percent(self) -> float:
        """Of one processor: over 100 for several."""
        return round(sum(process.cpu_percent for process in self.processes), 1)

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the living processes: falls when one exits."""
        return sum(process.cpu_seconds for process in self.processes)
