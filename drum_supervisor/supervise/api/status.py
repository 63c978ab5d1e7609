"""What `status --json` says: field names are promises, see docs/operations.md."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from drum_supervisor import __version__
from drum_supervisor.contract.listener import Address
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.state import Phase, attempts_left, current_workers
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER, shown_name
from drum_supervisor.supervise.service.context import Context


def status(context: Context, engine: Engine, address: Address, run_dir: RunDir) -> dict[str, Any]:
    """Return the state of everything as JSON-able values."""
    state = context.service.state
    return {
        **service(context),
        "address": str(address),
        "url": address.url(),
        "stage": context.service.stage if state.starting and state.phase in (Phase.STARTING, Phase.RETRYING) else "",
        "replacing": state.rolling_restart.left if state.rolling_restart else 0,
        "restart_failure": state.restart_failure.to_json() if state.restart_failure else None,
        "programs": [_program(facts) for _, facts in (*each_program(context, engine), *each_extra(engine))],
        "failure": state.report.to_json() if state.report else None,
        "run_dir": str(run_dir.path),
        "pid": engine.pid,
        "version": __version__,
        "serial": context.waiters.serial,
    }


def service(context: Context) -> dict[str, Any]:
    """Return the state of the service and its counters: what metrics are made of."""
    found, counters = context.service, context.service.counters
    state, phase = found.state, found.state.phase
    return {
        "phase": phase.value,
        "ready": bool(state.ready),
        "degraded": phase is Phase.SERVING and len(state.ready) < found.limits.workers,
        "error_server_active": found.is_error_server_ready,
        "server_type": context.programs.server_type,
        "since": iso(found.since),
        "attempt": state.attempt,
        "attempts_left": attempts_left(state, found.limits),
        "next_retry_at": _next_retry(context),
        "workers": found.limits.workers,
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
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def each_program(context: Context, engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name that the engine knows each program of ours by, and what there is to say of it.

    One that never ran, and is no worker, is left out, and so is the other side of a worker while it does not run.
    """
    serving = current_workers(context.service.state, context.service.limits)
    for program in context.programs.all:
        tracked, run = context.service.runs.get(program.name), engine.current_run(program.name)
        serves = program.worker in serving
        if not (serves or run or (tracked and not program.worker)):
            continue
        state = _state(run, bool(tracked and tracked.ready))
        yield (
            program.name,
            {
                "name": shown_name(program, serves) if program.worker else program.name,
                "group": program.group,
                "worker": program.slot or None,
                "pid": run.pid if run else None,
                "state": state,
                "ready": state == "ready",
                "uptime_s": round(context.now() - run.started, 3) if run else None,
            },
        )


def each_extra(engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and what there is to say of the user's programs; whether one is ready nobody knows."""
    for other in engine.extra_programs():
        facts = {
            "name": other.name,
            "group": other.group,
            "worker": None,
            "pid": other.pid or None,
            "state": other.state,
            "ready": None,
            "uptime_s": round(time.time() - other.started_at, 3) if other.pid else None,
        }
        yield other.name, facts


def _program(facts: dict[str, Any]) -> dict[str, Any]:
    shown = {name: facts[name] for name in ("name", "worker", "pid", "state", "uptime_s")}
    return {**shown, "memory_bytes": proctree.memory_bytes(facts["pid"]) if facts["pid"] else None}


def _state(run: Run | None, ready: bool) -> str:
    """Return what people mean: running and ready are kept apart."""
    if run is None:
        return "stopped"
    if run.stop_requested:
        return "stopping"
    return "ready" if ready else "starting"


def _out_of_memory(context: Context) -> dict[str, Any] | None:
    """Describe the kernel's kills for want of memory, also those that the service has survived."""
    kills, latest = context.kill_counters.look(), context.kill_counters.latest
    if latest is None or latest.last is None:
        return None
    return {"kills": kills, "last_at": _wall(context, latest.last_at), **asdict(latest.last)}


def _next_retry(context: Context) -> str | None:
    at = context.timers.at((Alarm.RETRY, 0))
    return None if at is None else _wall(context, at)


def _wall(context: Context, at: float) -> str:
    """Return a time of the loop's clock as a date."""
    return iso(time.time() + at - context.now())
