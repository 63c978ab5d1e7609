"""The resource usage of all programs: what `stats --json` prints, and what the metrics are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeAlias, TypeVar

from drum_supervisor.contract.status import Phase, ProgramRun, ServiceSummary
from drum_supervisor.resources.cgroup import Cgroup, Stall
from drum_supervisor.resources.process_reader import ProcessResources


@dataclass(frozen=True)
class BriefProcess:
    """What the metrics need of a process."""

    pid: int
    virtual_bytes: int
    started_at: float  # seconds since the epoch


ProcessT = TypeVar("ProcessT", ProcessResources, BriefProcess)


@dataclass(frozen=True)
class SupervisorUsage:
    """The resource usage of the supervisor itself; null when unknown."""

    pid: int | None = None
    cpu_percent: float | None = None
    cpu_seconds: float | None = None
    rss_bytes: int | None = None
    virtual_bytes: int | None = None
    threads: int | None = None
    descriptors: int | None = None
    started_at: float | None = None


@dataclass(frozen=True)
class ProgramStats(ProgramRun, Generic[ProcessT]):
    """The resource usage of a program; null and no processes while it does not run, or is not visible in /proc."""

    processes: Annotated[
        tuple[ProcessT, ...], "of each: the fields of [`ProcessResources`](resources.md#processes), the root first"
    ] = ()
    memory_bytes: Annotated[
        int | None, "resident memory with shared pages counted once, where that is known; otherwise `rss_bytes`"
    ] = None
    counts_shared_once: Annotated[bool | None, "whether shared pages are counted once in `memory_bytes`"] = None
    rss_bytes: Annotated[int | None, "sum over all processes"] = None
    cpu_percent: Annotated[
        float | None,
        "of one processor since the previous sample, in the first sample since the program started. "
        "Short-lived processes count if their parents have waited for them",
    ] = None
    cpu_seconds: Annotated[
        float | None, "since the program started, including processes that have exited; never decreases"
    ] = None
    threads: Annotated[int | None, "sum over all processes"] = None
    descriptors: Annotated[int | None, "sum over all processes"] = None


FullProgram: TypeAlias = ProgramStats[ProcessResources]


@dataclass(frozen=True)
class CpuTotal:
    """CPU time over all runs since the supervisor started; never decreases."""

    program: str
    worker: int | None  # null for other programs than the model server
    cpu_seconds: float


@dataclass(frozen=True)
class UsageHistory:
    """The last ten minutes of the model server, all workers together: parallel lists."""

    times: tuple[float, ...]  # seconds since the epoch
    rss_bytes: tuple[int, ...]
    working_set_bytes: tuple[int | None, ...]  # of the control group
    cpu_percent: tuple[float, ...]


@dataclass(frozen=True)
class Stats(Generic[ProcessT]):
    """A sample of the resource usage, with the states and uptimes of the moment of the answer."""

    taken_at: float
    phase: Phase
    supervisor: SupervisorUsage
    programs: tuple[ProgramStats[ProcessT], ...]
    totals: tuple[CpuTotal, ...]
    cgroup: Cgroup
    history: UsageHistory | None


@dataclass(frozen=True)
class GpuProcess:
    """The usage of one GPU by one process; None where the driver does not report it."""

    pid: int
    memory_bytes: int | None
    utilization_percent: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU, and our processes which use it."""

    index: int
    uuid: str
    name: str
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilization_percent: int | None  # of the time, for any process
    processes: tuple[GpuProcess, ...] = ()


FullStats: TypeAlias = Stats[ProcessResources]


@dataclass(frozen=True)
class MetricsReport:
    """The answer to `drum.metrics`."""

    service: ServiceSummary
    stats: Stats[BriefProcess]

    def stalled_seconds(self, read: Callable[[Cgroup], Stall | None]) -> float | None:
        """Return the total of a stall of the control group; None when unknown."""
        stall = read(self.stats.cgroup)
        return None if stall is None else stall.total_seconds


def sum_shared_once(processes: Sequence[ProcessResources]) -> tuple[int, bool]:
    """Return the sum of `shared_once_bytes`, and whether no page counts twice in it."""
    return sum(map(shared_once_bytes, processes)), all(process.pss_bytes is not None for process in processes)


def shared_once_bytes(process: ProcessResources) -> int:
    """Return the resident memory with shared pages counted once where that is known: PSS, otherwise RSS."""
    return process.rss_bytes if process.pss_bytes is None else process.pss_bytes
