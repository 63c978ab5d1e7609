"""The resource usage of all programs: what `stats --json` prints, and what the metrics are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeAlias, TypeVar

from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.status import ProgramRun, ServiceSummary
from drum_supervisor.resources.cgroup import Cgroup
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
    """The resource usage of the supervisor itself; all null when unknown."""

    pid: Annotated[int | None, "of the supervisor"] = None
    cpu_percent: Annotated[float | None, "of one processor since the previous sample"] = None
    cpu_seconds: Annotated[float | None, "since it started"] = None
    rss_bytes: Annotated[int | None, "resident memory"] = None
    virtual_bytes: Annotated[int | None, "address space"] = None
    threads: Annotated[int | None, "number of threads"] = None
    descriptors: Annotated[int | None, "open files"] = None
    started_at: Annotated[float | None, "seconds since the epoch"] = None


@dataclass(frozen=True)
class ProgramStats(ProgramRun, Generic[ProcessT]):
    """The resource usage of a program; null and no processes while it does not run, or is not visible in /proc."""

    processes: Annotated[
        tuple[ProcessT, ...], "of each: the fields of [`ProcessResources`](resources.md#processes), the root first"
    ] = ()
    memory_bytes: Annotated[
        int | None, "resident memory with shared pages counted once, where they could be; otherwise `rss_bytes`"
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

    program: Annotated[str, "`model-server` for each worker, or the name"]
    worker: Annotated[int | None, "number of the worker; null for other programs"]
    cpu_seconds: Annotated[float, "of all its runs"]


@dataclass(frozen=True)
class UsageHistory:
    """The last ten minutes of the model server, all workers together: parallel lists."""

    times: Annotated[tuple[float, ...], "seconds since the epoch"]
    rss_bytes: Annotated[tuple[int, ...], "resident memory"]
    working_set_bytes: Annotated[tuple[int | None, ...], "of the control group; null where unknown"]
    cpu_percent: Annotated[tuple[float, ...], "of one processor"]


@dataclass(frozen=True)
class Stats(Generic[ProcessT]):
    """A sample of the resource usage, with the states and uptimes of the moment of the answer."""

    taken_at: Annotated[
        float, "time of the sample (seconds since the epoch); states and uptimes are those of the answer"
    ]
    phase: Annotated[Phase, "as in the status"]
    supervisor: Annotated[SupervisorUsage, "the supervisor itself"]
    programs: Annotated[tuple[ProgramStats[ProcessT], ...], "all programs, over their whole process trees"]
    totals: Annotated[
        tuple[CpuTotal, ...], "CPU time of all runs since the supervisor started, by program; never decreases"
    ]
    cgroup: Annotated[
        Cgroup,
        "`memory`, `cpu`, `memory_pressure`, `cpu_pressure`, `io_pressure` of the "
        "[control group](resources.md#control-groups) of the first worker, also after its death",
    ]
    history: Annotated[
        UsageHistory | None,
        "the last ten minutes of the model server, all workers together, as parallel lists. It pauses while no model "
        "server runs, so the usage of one that died stays",
    ]


FullStats: TypeAlias = Stats[ProcessResources]


@dataclass(frozen=True)
class MetricsReport:
    """The answer to `drum.metrics`."""

    service: ServiceSummary
    stats: Stats[BriefProcess]


def sum_shared_once(processes: Sequence[ProcessResources]) -> tuple[int, bool]:
    """Return the sum of `shared_once_bytes`, and whether no page counts twice in it."""
    return sum(map(shared_once_bytes, processes)), all(process.pss_bytes is not None for process in processes)


def shared_once_bytes(process: ProcessResources) -> int:
    """Return the resident memory with shared pages counted once where that is known: PSS, otherwise RSS."""
    return process.rss_bytes if process.pss_bytes is None else process.pss_bytes
