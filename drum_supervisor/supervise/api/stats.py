"""The resource usage of all programs, made from a sample, the context and the engine."""

import time
from collections.abc import Callable
from dataclasses import replace

from drum_supervisor.resources.process_reader import ZOMBIE, ProcessResources
from drum_supervisor.resources.stats import (
    BriefProcess,
    CpuTotal,
    FullStats,
    MetricsReport,
    ProcessT,
    ProgramStats,
    Stats,
    SupervisorUsage,
    UsageHistory,
    sum_shared_once,
)
from drum_supervisor.supervise.api.status import StatusReporter, each_run, summarize_service
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.stats.usage_log import ProcessTree, Sample


class StatsReporter:
    def __init__(self, status: StatusReporter, sampler: Sampler) -> None:
        self._context = status.context
        self._engine = status.engine
        self._sampler = sampler

    def stats(self, sample: Sample, shared_memory: bool = False, history: bool = False) -> FullStats:
        """Return a sample, and the current state of the programs.

        Without `shared_memory` there are no USS and PSS, and `memory_bytes` is RSS even if the sample has them.
        """
        found = self._stats(sample, _same if shared_memory else _without_shared_memory, shared_memory)
        return replace(found, history=UsageHistory(**self._sampler.history(self._epoch()))) if history else found

    def metrics(self, sample: Sample) -> MetricsReport:
        return MetricsReport(summarize_service(self._context), self._stats(sample, _brief, shared_memory=False))

    def _stats(
        self, sample: Sample, describe: Callable[[ProcessResources], ProcessT], shared_memory: bool
    ) -> Stats[ProcessT]:
        return Stats(
            taken_at=round(self._epoch() + sample.started, 3),
            phase=self._context.service.state.phase,
            supervisor=_supervisor(sample.supervisor),
            programs=tuple(
                _with_usage(ProgramStats(**vars(run)), sample.trees.get(name), shared_memory, describe)
                for name, run in each_run(self._context, self._engine)
            ),
            totals=self._totals(),
            cgroup=sample.cgroup,
            history=None,
        )

    def _epoch(self) -> float:
        """Return the time of the clock's zero."""
        return time.time() - self._context.now()

    def _totals(self) -> tuple[CpuTotal, ...]:
        # The CPU time of all runs since the supervisor started, by slot of the workers, and by other program.
        managed = [(each.name, each.group, each.slot or None) for each in self._context.programs.all]
        extra = [(each.name, each.name, None) for each in self._engine.extra_programs()]
        seconds: dict[tuple[str, int | None], float] = {}
        for name, program, worker in (*managed, *extra):
            seconds[program, worker] = seconds.get((program, worker), 0.0) + self._sampler.cpu_seconds(name)
        return tuple(CpuTotal(program, worker, round(each, 2)) for (program, worker), each in seconds.items())


def _same(process: ProcessResources) -> ProcessResources:
    return process


def _without_shared_memory(process: ProcessResources) -> ProcessResources:
    is_unknown = process.uss_bytes is None and process.pss_bytes is None
    return process if is_unknown else replace(process, uss_bytes=None, pss_bytes=None)


def _brief(process: ProcessResources) -> BriefProcess:
    return BriefProcess(process.pid, process.virtual_bytes, process.started_at)


def _supervisor(process: ProcessResources | None) -> SupervisorUsage:
    if process is None:
        return SupervisorUsage()
    return SupervisorUsage(
        pid=process.pid,
        cpu_percent=process.cpu_percent,
        cpu_seconds=process.cpu_seconds,
        rss_bytes=process.rss_bytes,
        virtual_bytes=process.virtual_bytes,
        threads=process.threads,
        descriptors=process.descriptors,
        started_at=process.started_at,
    )


def _with_usage(
    program: ProgramStats[ProcessT],
    tree: ProcessTree | None,
    shared_memory: bool,
    describe: Callable[[ProcessResources], ProcessT],
) -> ProgramStats[ProcessT]:
    if tree is None or tree.pid != program.pid:
        return program
    processes = tree.processes
    rss_bytes = sum(process.rss_bytes for process in processes)
    memory_bytes, counts_shared_once = sum_shared_once(processes) if shared_memory else (rss_bytes, False)
    descriptors = [process.descriptors for process in processes if process.state != ZOMBIE]
    return replace(
        program,
        processes=tuple(map(describe, processes)),
        memory_bytes=memory_bytes,
        counts_shared_once=counts_shared_once,
        rss_bytes=rss_bytes,
        cpu_percent=tree.cpu_percent,
        cpu_seconds=tree.cpu_seconds,
        threads=sum(process.threads for process in processes),
        descriptors=None if None in descriptors else sum(filter(None, descriptors)),
    )
