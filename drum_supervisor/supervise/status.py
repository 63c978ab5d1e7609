"""What `status --json` says: field names are promises, see docs/operations.md."""

import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from drum_supervisor import __version__
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise import tree
from drum_supervisor.supervise.engine import Engine
from drum_supervisor.supervise.history import Alarm, Phase
from drum_supervisor.supervise.loop import Loop
from drum_supervisor.supervise.policy import attempts_left
from drum_supervisor.supervise.run_dir import RunDir
from drum_supervisor.supervise.running import Run


def status(loop: Loop, engine: Engine, address: Address, run_dir: RunDir) -> dict[str, Any]:
    """Return the state of everything as JSON-able values."""
    state = loop.state
    phase = state.phase
    return {
        "phase": phase.value,
        "ready": bool(state.ready),
        "degraded": phase is Phase.SERVING and len(state.ready) < loop.limits.workers,
        "address": str(address),
        "url": address.url(),
        "server_type": loop.programs.server_type,
        "since": iso(loop.since),
        "stage": loop.stage if phase in (Phase.STARTING, Phase.RETRYING) else "",
        "attempt": state.attempt,
        "attempts_left": attempts_left(state, loop.limits),
        "next_retry_at": _next_retry(loop),
        "workers": loop.limits.workers,
        "workers_ready": len(state.ready),
        "workers_coming": len(state.coming),
        "restarts": {
            "crash": state.crash_restarts,
            "request": state.requested_restarts,
            "retry": state.retry_restarts,
        },
        "programs": [_program(facts) for facts in each_program(loop, engine)],
        "failure": state.report.to_json() if state.report else None,
        "run_dir": str(run_dir.path),
        "pid": engine.pid,
        "version": __version__,
        "serial": loop.serial,
    }


def exit_code(phase: str) -> int:
    """Return the exit code of the command `status`: 0 serving, 3 failed, 1 anything in between."""
    return {Phase.SERVING.value: 0, Phase.FAILED.value: 3}.get(phase, 1)


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def each_program(loop: Loop, engine: Engine) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each program of ours; of one that never ran, and is no worker, nothing."""
    for program in loop.programs.all:
        seen, run = loop.fleet.seen.get(program.name), engine.run_of(program.name)
        if seen is None and not program.worker:
            continue
        state = _state(run, bool(seen and seen.ready))
        yield {
            "name": program.name,
            "group": program.group,
            "worker": program.worker or None,
            "pid": run.pid if run else None,
            "state": state,
            "ready": state == "ready",
            "uptime_s": round(loop.timers.clock() - run.started, 3) if run else None,
        }


def _program(facts: dict[str, Any]) -> dict[str, Any]:
    shown = {name: facts[name] for name in ("name", "worker", "pid", "state", "uptime_s")}
    return {**shown, "memory_bytes": tree.memory_bytes(facts["pid"]) if facts["pid"] else None}


def _state(run: Run | None, ready: bool) -> str:
    """Return what people mean: running and ready are kept apart."""
    if run is None:
        return "stopped"
    if run.stop_asked:
        return "stopping"
    return "ready" if ready else "starting"


def _next_retry(loop: Loop) -> str | None:
    at = loop.timers.at((Alarm.RETRY, 0))
    return None if at is None else iso(time.time() + at - loop.timers.clock())
