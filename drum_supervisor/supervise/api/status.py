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
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.lifecycle.sd_notify import Standing
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.events import Phase
from drum_supervisor.supervise.policy.state import attempts_left, sides_of
from drum_supervisor.supervise.programs.program import ERROR_SERVER, MODEL_SERVER, shown_name


def status(loop: Loop, engine: Engine, address: Address, run_dir: RunDir) -> dict[str, Any]:
    """Return the state of everything as JSON-able values."""
    state = loop.state
    return {
        **service(loop),
        "address": str(address),
        "url": address.url(),
        "stage": loop.witness.stage if state.coming and state.phase in (Phase.STARTING, Phase.RETRYING) else "",
        "replacing": state.roll.left if state.roll else 0,
        "restart_failure": state.restart_failure.to_json() if state.restart_failure else None,
        "programs": [_program(facts) for _, facts in (*each_program(loop, engine), *each_other(engine))],
        "failure": state.report.to_json() if state.report else None,
        "run_dir": str(run_dir.path),
        "pid": engine.pid,
        "version": __version__,
        "serial": loop.changes.serial,
    }


def service(loop: Loop) -> dict[str, Any]:
    """Return how the service stands, and what has happened to it so far, counted: what metrics are made of."""
    state, phase, tally = loop.state, loop.state.phase, loop.tally
    return {
        "phase": phase.value,
        "ready": bool(state.ready),
        "degraded": phase is Phase.SERVING and len(state.ready) < loop.limits.workers,
        "error_server_active": _is_explained(loop),
        "server_type": loop.programs.server_type,
        "since": iso(loop.since),
        "attempt": state.attempt,
        "attempts_left": attempts_left(state, loop.limits),
        "next_retry_at": _next_retry(loop),
        "workers": loop.limits.workers,
        "workers_ready": len(state.ready),
        "workers_coming": len(state.coming),
        "workers_held": len(state.held),
        "startup_seconds": {str(place): round(seconds, 3) for place, seconds in tally.startup_seconds.items()},
        "restarts": {
            "crash": state.crash_restarts,
            "request": state.requested_restarts,
            "retry": state.retry_restarts,
            "memory": state.memory_restarts,
            "requests": state.spent_restarts,
        },
        "failures": {cause.value: count for cause, count in tally.failures.items()},
        "swaps": {ERROR_SERVER: tally.to_error_server, MODEL_SERVER: tally.to_model_server},
        "out_of_memory": _out_of_memory(loop),
    }


def _is_explained(loop: Loop) -> bool:
    """Whether the error server answers."""
    error_server = loop.fleet.seen.get(ERROR_SERVER)
    return error_server is not None and error_server.is_there and error_server.ready


def standing(loop: Loop) -> Standing:
    """Return what the service manager is told."""
    state = loop.state
    return Standing(state.phase, bool(state.ready) or _is_explained(loop), _words(loop))


def _words(loop: Loop) -> str:
    state, stage = loop.state, loop.witness.stage
    if state.phase is Phase.SERVING:
        return f"serving: {len(state.ready)} of {loop.limits.workers} workers ready"
    if state.phase in (Phase.FAILED, Phase.RETRYING) and state.report:
        return f"{state.phase.value}: {state.report.error}"
    return f"{state.phase.value}, stage {stage}" if stage else state.phase.value


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def each_program(loop: Loop, engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name that the engine knows each program of ours by, and what there is to say of it.

    One that never ran, and is no worker, is left out, and so is the other side of a worker while it does not run.
    """
    serving = sides_of(loop.state, loop.limits)
    for program in loop.programs.all:
        seen, run = loop.fleet.seen.get(program.name), engine.run_of(program.name)
        serves = program.worker in serving
        if not (serves or run or (seen and not program.worker)):
            continue
        state = _state(run, bool(seen and seen.ready))
        yield (
            program.name,
            {
                "name": shown_name(program, serves) if program.worker else program.name,
                "group": program.group,
                "worker": program.place or None,
                "pid": run.pid if run else None,
                "state": state,
                "ready": state == "ready",
                "uptime_s": round(loop.timers.clock() - run.started, 3) if run else None,
            },
        )


def each_other(engine: Engine) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and what there is to say of the user's programs; whether one is ready nobody knows."""
    for other in engine.others():
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
    if run.stop_asked:
        return "stopping"
    return "ready" if ready else "starting"


def _out_of_memory(loop: Loop) -> dict[str, Any] | None:
    """Describe the kernel's kills for want of memory, also those that the service has survived."""
    kills, latest = loop.fleet.memory.look(), loop.fleet.memory.latest
    if latest is None or latest.last is None:
        return None
    return {"kills": kills, "last_at": _wall(loop, latest.last_at), **asdict(latest.last)}


def _next_retry(loop: Loop) -> str | None:
    at = loop.alarms.at(Alarm.RETRY)
    return None if at is None else _wall(loop, at)


def _wall(loop: Loop, at: float) -> str:
    """Return a time of the loop's clock as a date."""
    return iso(time.time() + at - loop.timers.clock())
