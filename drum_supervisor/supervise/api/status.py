"""The status of the supervisor, made from the context and the engine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from drum_supervisor import __version__
from drum_supervisor.contract.status import OomKills, ProgramRun, ProgramStatus, RestartCounts, ServiceSummary, Status
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.scan import ScanTarget


@dataclass(frozen=True)
class StatusReporter:
    context: Context
    engine: Engine
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


def running_targets(engine: Engine, context: Context) -> list[ScanTarget]:
    now, wall = time.monotonic(), time.time()
    runs = ((program, context.service.current_run(program.name)) for program in context.programs.all)
    managed = [ScanTarget(program.name, run.pid, run.started, program.worker) for program, run in runs if run]
    extra = [each for each in engine.extra_programs() if each.pid]
    return managed + [ScanTarget(each.name, each.pid, now - (wall - each.started_at)) for each in extra]


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
        run, is_known = context.service.current_run(program.name), program.name in context.service.runs
        serves = program.worker in serving
        if not (serves or run or (is_known and not program.worker)):
            continue
        state = run.state if run else "stopped"
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
