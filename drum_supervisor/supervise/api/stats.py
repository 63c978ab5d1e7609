"""What `stats --json` says: field names are promises, see docs/operations.md."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from drum_supervisor.resources.snapshot import ZOMBIE, ProcessResources, ResourceSnapshot
from drum_supervisor.supervise.api.status import each_other, each_program, service
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.stats.scan import Top
from drum_supervisor.supervise.stats.usage_log import Sample, Tree

Told: TypeAlias = Callable[[ProcessResources], dict[str, Any]]


def tops(engine: Engine, found: Programs, now: float, wall: float) -> list[Top]:
    """Return the programs that run, ours and the user's.

    Args:
        now: seconds of the monotonic clock, at `wall` seconds since the epoch.
    """
    runs = ((program, engine.run_of(program.name)) for program in found.all)
    ours = [Top(program.name, run.pid, run.started, program.worker) for program, run in runs if run]
    return ours + [
        Top(other.name, other.pid, now - (wall - other.started_at)) for other in engine.others() if other.pid
    ]


def stats(
    loop: Loop,
    engine: Engine,
    sample: Sample,
    shared_memory: bool,
    history: bool,
    told: Told | None = None,
) -> dict[str, Any]:
    """Return a sample, and the state of everything now, as JSON-able values.

    Args:
        shared_memory: with USS and PSS; without them `memory_bytes` is always RSS, whatever others have asked.
        history: with the last ten minutes.
        told: what to tell of each process; everything, if nothing else is said.
    """
    programs = (*each_program(loop, engine), *each_other(engine))
    epoch = time.time() - loop.timers.clock()
    told = told or (_everything if shared_memory else _without_shared_memory)
    return {
        "taken_at": round(epoch + sample.begun, 3),
        "phase": loop.state.phase.value,
        "supervisor": _supervisor(sample.supervisor),
        "programs": [
            {**facts, **_used(sample.trees.get(name), facts["pid"], shared_memory, told)} for name, facts in programs
        ],
        "totals": _totals(loop, engine),
        "cgroup": json_safe(asdict(sample.cgroup)),
        "history": loop.sampler.history.to_json(epoch) if history else None,
    }


def metrics(loop: Loop, engine: Engine, sample: Sample) -> dict[str, Any]:
    """Return what metrics are made of: how the service stands, and the figures of a sample, of each process a few."""
    found = stats(loop, engine, sample, shared_memory=False, history=False, told=_in_short)
    return {"service": service(loop), "stats": found}


def _everything(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process)}


def _without_shared_memory(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process), "uss_bytes": None, "pss_bytes": None}


def _in_short(process: ProcessResources) -> dict[str, Any]:
    return {"pid": process.pid, "virtual_bytes": process.virtual_bytes, "started_at": process.started_at}


def _totals(loop: Loop, engine: Engine) -> list[dict[str, Any]]:
    """Return what all runs have used since the supervisor began: of each worker both sides, of each other program."""
    ours = [(each.name, each.group, each.place or None) for each in loop.programs.all]
    others = [(each.name, each.name, None) for each in engine.others()]
    seconds: dict[tuple[str, int | None], float] = {}
    for name, program, worker in (*ours, *others):
        seconds[program, worker] = seconds.get((program, worker), 0.0) + loop.sampler.cpu_seconds(name)
    return [{"program": each, "worker": worker, "cpu_seconds": round(s, 2)} for (each, worker), s in seconds.items()]


def json_safe(value: Any) -> Any:
    """Return `value` as JSON can say it: paths as text, infinity and what is no number as null."""
    if isinstance(value, dict):
        return {name: json_safe(each) for name, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


_OF_THE_SUPERVISOR = "pid cpu_percent cpu_seconds rss_bytes virtual_bytes threads descriptors started_at".split()


def _supervisor(process: ProcessResources | None) -> dict[str, Any]:
    return {name: getattr(process, name, None) for name in _OF_THE_SUPERVISOR}


def _used(tree: Tree | None, pid: object, shared_memory: bool, told: Told) -> dict[str, Any]:
    """Return the figures of a program; null when it does not run, or /proc does not show it."""
    if tree is None or tree.pid != pid:
        return {"processes": [], **dict.fromkeys(_SUMS)}
    processes, sums = tree.processes, ResourceSnapshot(0.0, tree.processes)
    descriptors = [process.descriptors for process in processes if process.state != ZOMBIE]
    return {
        "processes": [told(process) for process in processes],
        "memory_bytes": sums.memory_bytes if shared_memory else sums.rss_bytes,
        "counts_shared_once": shared_memory and sums.counts_shared_once,
        "rss_bytes": sums.rss_bytes,
        "cpu_percent": tree.cpu_percent,
        "cpu_seconds": tree.cpu_seconds,
        "threads": sum(process.threads for process in processes),
        "descriptors": None if None in descriptors else sum(filter(None, descriptors)),
    }


_SUMS = ("memory_bytes", "counts_shared_once", "rss_bytes", "cpu_percent", "cpu_seconds", "threads", "descriptors")
