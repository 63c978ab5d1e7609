"""What all metrics are read from: one answer of the supervisor, and the GPUs at the same moment."""

import math
import os
import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from drum_supervisor.resources.gpu_usage import Gpu
from drum_supervisor.resources.stats import BriefProcess, MetricsReport, ProgramStats, Stats, SupervisorUsage

SUPERVISOR = "supervisor"

GpuReader: TypeAlias = Callable[[frozenset[int]], list[Gpu]]
"""Returns the GPUs and, of the given processes, those which use them."""


@dataclass(frozen=True)
class ProgramUsage:
    """Resource usage of all processes of a program; None where unknown, and for a program that does not run.

    A worker and its successor count together while both run.
    """

    program: str
    worker: str  # of the model server; empty for other programs
    is_running: bool
    is_ready: bool | None
    cpu_seconds: float | None  # of all its runs since the supervisor started
    cpu_percent: float | None  # of one processor
    rss_bytes: float | None
    virtual_bytes: float | None
    descriptors: float | None
    max_descriptors: float | None  # the limit of the root process
    threads: float | None
    started_at: float | None  # start of the root process, seconds since the epoch
    pids: frozenset[int] = frozenset()

    @property
    def labels(self) -> tuple[str, str]:
        return self.program, self.worker


@dataclass(frozen=True)
class MetricsSnapshot:
    report: MetricsReport
    usages: tuple[ProgramUsage, ...]  # the supervisor first
    processors: float  # available to the programs
    gpus: tuple[Gpu, ...] = ()


def build_snapshot(
    report: MetricsReport,
    read_fd_limit: Callable[[int], float | None],
    read_gpus: GpuReader,
) -> MetricsSnapshot:
    """Build the snapshot from the supervisor's report.

    Args:
        read_fd_limit: returns the descriptor limit of a process.
    """
    stats = report.stats
    usages = (_supervisor(stats.supervisor, read_fd_limit), *_programs(stats, read_fd_limit))
    pids = frozenset(pid for usage in usages for pid in usage.pids)
    cores = stats.cgroup.cpu.quota_cores or math.inf
    processors = min(float(len(os.sched_getaffinity(0))), cores)
    return MetricsSnapshot(report, usages, processors, tuple(read_gpus(pids)))


def read_fd_limit(pid: int) -> float | None:
    """Return the descriptor limit of a process; None when it is gone or another user's."""
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return None
    return math.inf if soft == resource.RLIM_INFINITY else float(soft)


def _supervisor(usage: SupervisorUsage, read_fd_limit: Callable[[int], float | None]) -> ProgramUsage:
    return ProgramUsage(
        program=SUPERVISOR,
        worker="",
        is_running=True,
        is_ready=None,
        cpu_seconds=usage.cpu_seconds,
        cpu_percent=usage.cpu_percent,
        rss_bytes=usage.rss_bytes,
        virtual_bytes=usage.virtual_bytes,
        descriptors=usage.descriptors,
        max_descriptors=None if usage.pid is None else read_fd_limit(usage.pid),
        threads=usage.threads,
        started_at=usage.started_at,
    )


def _programs(stats: Stats[BriefProcess], read_fd_limit: Callable[[int], float | None]) -> Iterable[ProgramUsage]:
    grouped: dict[tuple[str, str], list[ProgramStats[BriefProcess]]] = {}
    for program in stats.programs:
        name = program.group if program.worker else program.name  # a worker and its successor share a group
        grouped.setdefault(_labels(name, program.worker), []).append(program)
    totals = {_labels(total.program, total.worker): total.cpu_seconds for total in stats.totals}
    for labels, programs in grouped.items():
        yield _usage(labels, programs, totals.get(labels), read_fd_limit)


def _labels(program: str, worker: int | None) -> tuple[str, str]:
    return program, str(worker or "")


def _usage(
    labels: tuple[str, str],
    programs: Sequence[ProgramStats[BriefProcess]],
    cpu_seconds: float | None,
    read_fd_limit: Callable[[int], float | None],
) -> ProgramUsage:
    processes = [process for program in programs for process in program.processes]
    roots = [program.processes[0] for program in programs if program.processes]
    ready = [program.ready for program in programs if program.ready is not None]
    return ProgramUsage(
        *labels,
        is_running=any(program.pid for program in programs),
        is_ready=any(ready) if ready else None,
        cpu_seconds=cpu_seconds,
        cpu_percent=_sum(program.cpu_percent for program in programs),
        rss_bytes=_sum(program.rss_bytes for program in programs),
        virtual_bytes=_sum(process.virtual_bytes for process in processes),
        descriptors=_sum(program.descriptors for program in programs),
        max_descriptors=read_fd_limit(roots[-1].pid) if roots else None,
        threads=_sum(program.threads for program in programs),
        started_at=max((root.started_at for root in roots), default=None),
        pids=frozenset(process.pid for process in processes),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None
