"""The answer of `status --json`; its field names are promised in docs/operations.md."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from drum_supervisor import __version__
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER
from drum_supervisor.supervise.service.context import Context


@dataclass(frozen=True)
class Location:
    """Where a supervisor serves and keeps its files, as `status` shows it."""

    address: str
    url: str
    run_dir: str


def status(context: Context, engine: Engine, location: Location) -> dict[str, Any]:
    """Return the state of the service and all programs as JSON-able values."""
    state = context.service.state
    return {
        **service_status(context),
        "address": location.address,
        "url": location.url,
        "stage": context.service.stage if state.starting and context.service.is_initializing else "",
        "replacing": state.rolling_restart.remaining if state.rolling_restart else 0,
        "restart_failure": state.restart_failure.to_json() if state.restart_failure else None,
        "programs": [_program(facts) for _, facts in (*each_program(context), *each_extra(engine))],
        "failure": state.report.to_json() if state.report else None,
        "run_dir": location.run_dir,
        "pid": engine.pid,
        "version": __version__,
        "serial": context.waiters.serial,
    }


def service_status(context: Context) -> dict[str, Any]:
    service, counters = context.service, context.service.counters
    state = service.state
    return {
        "phase": state.phase.value,
        "ready": bool(state.ready),
        "degraded": service.is_serving and len(state.ready) < service.limits.workers,
        "error_server_active": service.is_error_server_ready,
        "server_type": context.programs.server_type,
        "since": iso(service.since),
        "attempt": state.attempt,
        "attempts_left": service.attempts_left,
        "next_retry_at": _next_retry(context),
        "workers": service.limits.workers,
        "workers_ready": len(state.ready),
        "workers_coming": len(state.starting),
        "workers_held": len(state.stopped_by_operator),
        "startup_seconds": {str(slot): round(seconds, 3) for slot, seconds in counters.startup_seconds.items()},
        "restarts": {
            "crash": state.crash_restarts,
            "request": state.requested_restarts,
            "retry": state.retry_restarts,
            "memory": state.memory_limit_restarts,
            "requests": state.request_limit_restarts,
        },
        "failures": {cause.value: count for cause, count in counters.failures.items()},
        "swaps": {ERROR_SERVER: counters.to_error_server, MODEL_SERVER: counters.to_model_server},
        "out_of_memory": _out_of_memory(context),
    }


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def each_program(context: Context) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the state of each managed program, with the engine's name for it."""
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
            {
                "name": context.display_name(program) if program.worker else program.name,
                "group": program.group,
                "worker": program.slot or None,
                "pid": run.pid if run else None,
                "state": state,
                "ready": state == "ready",
                "uptime_s": round(context.now() - run.started, 3) if run else None,
            },
        )


def each_extra(engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    # Whether an extra program is ready is unknown.
    for extra in engine.extra_programs():
        facts = {
            "name": extra.name,
            "group": extra.group,
            "worker": None,
            "pid": extra.pid or None,
            "state": extra.state,
            "ready": None,
            "uptime_s": round(time.time() - extra.started_at, 3) if extra.pid else None,
        }
        yield extra.name, facts


def _program(facts: dict[str, Any]) -> dict[str, Any]:
    shown = {name: facts[name] for name in ("name", "worker", "pid", "state", "uptime_s")}
    return {**shown, "memory_bytes": proctree.read_tree_rss(facts["pid"]) if facts["pid"] else None}


def _out_of_memory(context: Context) -> dict[str, Any] | None:
    kills, latest = context.kill_counters.refresh(), context.kill_counters.latest
    if latest is None or latest.last_kill is None:
        return None
    return {"kills": kills, "last_at": _loop_time_to_iso(context, latest.last_kill_at), **asdict(latest.last_kill)}


def _next_retry(context: Context) -> str | None:
    at = context.next_retry_at()
    return None if at is None else _loop_time_to_iso(context, at)


def _loop_time_to_iso(context: Context, at: float) -> str:
    return iso(time.time() + at - context.now())
