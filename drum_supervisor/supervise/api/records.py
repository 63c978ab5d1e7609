"""The records that the control socket answers with: the status, and the resource usage in a sample."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from drum_supervisor import __version__
from drum_supervisor.contract.status import OomKills, ProgramRun, ProgramStatus, RestartCounts, ServiceSummary, Status
from drum_supervisor.resources import proctree
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
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.stats.scan import ScanTarget
from drum_supervisor.supervise.stats.usage_log import ProcessTree, Sample


def running_targets(engine: Engine, context: Context) -> list[ScanTarget]:
    now, wall = time.monotonic(), time.time()
    runs = ((program, engine.current_run(program.name)) for program in context.programs.all)
    managed = [ScanTarget(program.name, run.pid, run.started, program.worker) for program, run in runs if run]
    extra = [each for each in engine.extra_programs() if each.pid]
    return managed + [ScanTarget(each.name, each.pid, now - (wall - each.started_at)) for each in extra]


@dataclass(frozen=True)
class SupervisorReporter:
    """Makes the records that the control socket answers with."""

    context: Context
    engine: Engine
    sampler: Sampler
    address: str  # that it serves on
    url: str
    run_dir: str

    def status(self) -> Status:
        """Return the state of the service and all programs; this reads the memory of their process trees."""
        state = self.context.service.state
        return Status(
            **vars(summarize_service(self.context)),
            address=self.address,
            url=self.url,
            stage=self.context.service.stage if state.starting and self.context.service.is_initializing else "",
            replacing=state.rolling_restart.remaining if state.rolling_restart else 0,
            restart_failure=state.restart_failure,
            programs=tuple(_program_status(run) for _, run in each_run(self.context, self.engine)),
            failure=state.report,
            run_dir=self.run_dir,
            pid=self.engine.pid,
            version=__version__,
            serial=self.context.waiters.serial,
        )

    def stats(self, sample: Sample, shared_memory: bool = False, history: bool = False) -> FullStats:
        """Return a sample, and the current state of the programs.

        Without `shared_memory` there are no USS and PSS, and `memory_bytes` is RSS even if the sample has them.
        """
        found = self._stats(sample, _same if shared_memory else _without_shared_memory, shared_memory)
        return replace(found, history=UsageHistory(**self.sampler.history(self._epoch()))) if history else found

    def metrics(self, sample: Sample) -> MetricsReport:
        return MetricsReport(summarize_service(self.context), self._stats(sample, _brief, shared_memory=False))

    def _stats(
        self, sample: Sample, describe: Callable[[ProcessResources], ProcessT], shared_memory: bool
    ) -> Stats[ProcessT]:
        return Stats(
            taken_at=round(self._epoch() + sample.started, 3),
            phase=self.context.service.state.phase,
            supervisor=_supervisor(sample.supervisor),
            programs=tuple(
                _program_stats(run, sample.trees.get(name), shared_memory, describe)
                for name, run in each_run(self.context, self.engine)
            ),
            totals=self._totals(),
            cgroup=sample.cgroup,
            history=None,
        )

    def _epoch(self) -> float:
        """Return the time of the clock's zero."""
        return time.time() - self.context.now()

    def _totals(self) -> tuple[CpuTotal, ...]:
        # The CPU time of all runs since the supervisor started, by slot of the workers, and by other program.
        managed = [(each.name, each.group, each.slot or None) for each in self.context.programs.all]
        extra = [(each.name, each.name, None) for each in self.engine.extra_programs()]
        seconds: dict[tuple[str, int | None], float] = {}
        for name, program, worker in (*managed, *extra):
            seconds[program, worker] = seconds.get((program, worker), 0.0) + self.sampler.cpu_seconds(name)
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


def _program_stats(
    run: ProgramRun,
    tree: ProcessTree | None,
    shared_memory: bool,
    describe: Callable[[ProcessResources], ProcessT],
) -> ProgramStats[ProcessT]:
    if tree is None or tree.pid != run.pid:
        return ProgramStats(**vars(run))
    processes = tree.processes
    rss_bytes = sum(process.rss_bytes for process in processes)
    memory_bytes, counts_shared_once = sum_shared_once(processes) if shared_memory else (rss_bytes, False)
    descriptors = [process.descriptors for process in processes if process.state != ZOMBIE]
    return ProgramStats(
        **vars(run),
        processes=tuple(map(describe, processes)),
        memory_bytes=memory_bytes,
        counts_shared_once=counts_shared_once,
        rss_bytes=rss_bytes,
        cpu_percent=tree.cpu_percent,
        cpu_seconds=tree.cpu_seconds,
        threads=sum(process.threads for process in processes),
        descriptors=None if None in descriptors else sum(filter(None, descriptors)),
    )


# --- the service and its programs


def summarize_service(context: Context) -> ServiceSummary:
    service, counters = context.service, context.service.counters
    state = service.state
    return ServiceSummary(
        phase=state.phase,
        ready=bool(state.ready),
        degraded=service.is_serving and len(state.ready) < service.limits.workers,
        error_server_active=service.is_error_server_ready,
        server_type=context.programs.server_type,
        since=_iso(service.since),
        attempt=state.attempt,
        attempts_left=service.attempts_left,
        next_retry_at=_next_retry(context),
        workers=service.limits.workers,
        workers_ready=len(state.ready),
        workers_coming=len(state.starting),
        workers_held=len(state.stopped_by_operator),
        startup_seconds={str(slot): round(seconds, 3) for slot, seconds in counters.startup_seconds.items()},
        restarts=RestartCounts(
            crash=state.crash_restarts,
            request=state.requested_restarts,
            retry=state.retry_restarts,
            memory=state.memory_limit_restarts,
            requests=state.request_limit_restarts,
        ),
        failures={cause.value: count for cause, count in counters.failures.items()},
        swaps={ERROR_SERVER: counters.to_error_server, MODEL_SERVER: counters.to_model_server},
        out_of_memory=_out_of_memory(context),
    )


def each_run(context: Context, engine: Engine) -> Iterator[tuple[str, ProgramRun]]:
    """Yield the current run of each program, with the engine's name for it."""
    # Left out: programs that never ran unless they are workers, and standbys that are not running.
    serving = context.service.current_workers
    for program in context.programs.all:
        tracked, run = context.service.runs.get(program.name), engine.current_run(program.name)
        serves = program.worker in serving
        if not (serves or run or (tracked and not program.worker)):
            continue
        state = run.describe_state(bool(tracked and tracked.ready)) if run else "stopped"
        yield (
            program.name,
            ProgramRun(
                name=context.display_name(program) if program.worker else program.name,
                group=program.group,
                worker=program.slot or None,
                pid=run.pid if run else None,
                state=state,
                ready=state == "ready",
                uptime_s=round(context.now() - run.started, 3) if run else None,
            ),
        )
    for extra in engine.extra_programs():
        uptime = round(time.time() - extra.started_at, 3) if extra.pid else None
        yield extra.name, ProgramRun(extra.name, extra.group, None, extra.pid or None, extra.state, None, uptime)


def _program_status(run: ProgramRun) -> ProgramStatus:
    memory = proctree.read_tree_rss(run.pid) if run.pid else None
    return ProgramStatus(run.name, run.worker, run.pid, run.state, run.uptime_s, memory)


def _out_of_memory(context: Context) -> OomKills | None:
    kills, latest = context.kill_counters.refresh(), context.kill_counters.latest
    if latest is None or latest.last_kill is None:
        return None
    last, last_at = latest.last_kill, _loop_time_to_iso(context, latest.last_kill_at)
    return OomKills(kills, last_at, last.limit_bytes, last.peak_bytes)


def _next_retry(context: Context) -> str | None:
    at = context.next_retry_at()
    return None if at is None else _loop_time_to_iso(context, at)


def _loop_time_to_iso(context: Context, at: float) -> str:
    return _iso(time.time() + at - context.now())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
