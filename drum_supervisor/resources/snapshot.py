"""What a process, and all that it has started, used at a moment."""

from dataclasses import dataclass, field

from drum_supervisor.resources.cgroup import Cgroup

ZOMBIE = "zombie"


@dataclass(frozen=True)
class ProcessResources:
    """What one process uses.

    Attributes:
        pid: its number.
        parent_pid: that of its parent.
        name: as the kernel has it, or the whole name of the program file.
        command_line: its arguments, secrets masked.
        state: "running", "sleeping", "disk-sleep", "zombie" and so on, as psutil says it.
        cpu_percent: of one processor, since the call before; in the first call, since the process began.
        cpu_seconds: processor time, of the user and of the system.
        reaped_cpu_seconds: that of its children which have ended and for which it has waited, and of theirs.
        rss_bytes: resident memory; pages that others have mapped too count in full.
        uss_bytes: memory that its end would free; None when the kernel does not tell.
        pss_bytes: resident memory; of a page that n processes have mapped 1/n counts. None when nobody tells.
        virtual_bytes: address space.
        threads: how many it has.
        descriptors: how many files are open; None when the kernel does not tell.
        started_at: seconds since the epoch.
    """

    pid: int
    parent_pid: int
    name: str
    command_line: tuple[str, ...]
    state: str
    cpu_percent: float
    cpu_seconds: float
    reaped_cpu_seconds: float
    rss_bytes: int
    uss_bytes: int | None
    pss_bytes: int | None
    virtual_bytes: int
    threads: int
    descriptors: int | None
    started_at: float


@dataclass(frozen=True)
class ResourceSnapshot:
    """All processes below one, the one at the top first, and the control group of that one.

    No processes: the one at the top is gone.
    """

    taken_at: float
    processes: tuple[ProcessResources, ...]
    cgroup: Cgroup = field(default_factory=Cgroup)

    @property
    def memory_bytes(self) -> int:
        """Resident memory of all, shared pages once: the sum of PSS; of RSS for those whose PSS nobody knows."""
        return sum(process.rss_bytes if process.pss_bytes is None else process.pss_bytes for process in self.processes)

    @property
    def counts_shared_once(self) -> bool:
        """Whether `memory_bytes` is the sum of PSS alone, so that no page is counted twice."""
        return all(process.pss_bytes is not None for process in self.processes)

    @property
    def rss_bytes(self) -> int:
        """The sum of RSS, which counts pages once for each process that has them."""
        return sum(process.rss_bytes for process in self.processes)

    @property
    def cpu_percent(self) -> float:
        """Of one processor: above 100 when several are used."""
        return round(sum(process.cpu_percent for process in self.processes), 1)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of those that are alive: falls when one ends."""
        return sum(process.cpu_seconds for process in self.processes)
