"""What `stats --json` says: field names are promises, see docs/operations.md."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from drum_supervisor.resources.snapshot import ZOMBIE, ProcessResources, ResourceSnapshot
from drum_supervisor.supervise.api.status import each_extra, each_program, service
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.programs.program import Programs
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.stats.scan import ScanTarget
from drum_supervisor.supervise.stats.usage_log import ProcessTree, Sample

Describe: TypeAlias = Callable[[ProcessResources], dict[str, Any]]


def targets(engine: Engine, programs: Programs) -> list[ScanTarget]:
    """Return the programs that run, ours and the user's."""
    now, wall = time.monotonic(), time.time()
    runs = ((program, engine.current_run(program.name)) for program in programs.all)
    ours = [ScanTarget(program.name, run.pid, run.started, program.worker) for program, run in runs if run]
    extra = [each for each in engine.extra_programs() if each.pid]
    return ours + [ScanTarget(each.name, each.pid, now - (wall - each.started_at)) for each in extra]


@dataclass(frozen=True)
class Usage:
    """Answers `stats` and `metrics` from samples."""

    context: Context
    engine: Engine
    sampler: Sampler

    def stats(
        self,
        sample: Sample,
        shared_memory: bool = False,
        history: bool = False,
        describe: Describe | None = None,
    ) -> dict[str, Any]:
        """Return a sample, and the state of everything now, as JSON-able values.

        Args:
            shared_memory: with USS and PSS; without them `memory_bytes` is always RSS, whatever else was requested.
            history: with the last ten minutes.
            describe: what to return of each process; everything by default.
        """
        describe = describe or (_everything if shared_memory else _without_shared_memory)
        epoch = time.time() - self.context.now()
        return {
            "taken_at": round(epoch + sample.started, 3),
            "phase": self.context.service.state.phase.value,
            "supervisor": _supervisor(sample.supervisor),
            "programs": self._programs(sample, shared_memory, describe),
            "totals": self._totals(),
            "cgroup": json_safe(asdict(sample.cgroup)),
            "history": self.sampler.history.to_json(epoch) if history else None,
        }

    def metrics(self, sample: Sample) -> dict[str, Any]:
        """Return what metrics are made of: the state of the service, and a sample with a little of each process."""
        return {"service": service(self.context), "stats": self.stats(sample, describe=_in_short)}

    def _programs(self, sample: Sample, shared_memory: bool, describe: Describe) -> list[dict[str, Any]]:
        programs = (*each_program(self.context, self.engine), *each_extra(self.engine))
        return [
            {**facts, **_used(sample.trees.get(name), facts["pid"], shared_memory, describe)}
            for name, facts in programs
        ]

    def _totals(self) -> list[dict[str, Any]]:
        """Return what all runs have used since the supervisor started: by slot of the workers, by other program."""
        ours = [(each.name, each.group, each.slot or None) for each in self.context.programs.all]
        extra = [(each.name, each.name, None) for each in self.engine.extra_programs()]
        seconds: dict[tuple[str, int | None], float] = {}
        for name, program, worker in (*ours, *extra):
            seconds[program, worker] = seconds.get((program, worker), 0.0) + self.sampler.cpu_seconds(name)
        return [
            {"program": each, "worker": worker, "cpu_seconds": round(s, 2)} for (each, worker), s in seconds.items()
        ]


def _everything(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process)}


def _without_shared_memory(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process), "uss_bytes": None, "pss_bytes": None}


def _in_short(process: ProcessResources) -> dict[str, Any]:
    return {"pid": process.pid, "virtual_bytes": process.virtual_bytes, "started_at": process.started_at}


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


def _used(tree: ProcessTree | None, pid: object, shared_memory: bool, describe: Describe) -> dict[str, Any]:
    """Return the figures of a program; null when it does not run, or /proc does not show it."""
    if tree is None or tree.pid != pid:
        return {"processes": [], **dict.fromkeys(_SUMS)}
    processes, sums = tree.processes, ResourceSnapshot(0.0, tree.processes)
    descriptors = [process.descriptors for process in processes if process.state != ZOMBIE]
    return {
        "processes": [describe(process) for process in processes],
        "memory_bytes": sums.memory_bytes if shared_memory else sums.rss_bytes,
        "counts_shared_once": shared_memory and sums.counts_shared_once,
        "rss_bytes": sums.rss_bytes,
        "cpu_percent": tree.cpu_percent,
        "cpu_seconds": tree.cpu_seconds,
        "threads": sum(process.threads for process in processes),
        "descriptors": None if None in descriptors else sum(filter(None, descriptors)),
    }


_SUMS = ("memory_bytes", "counts_shared_once", "rss_bytes", "cpu_percent", "cpu_seconds", "threads", "descriptors")
