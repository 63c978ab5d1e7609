"""The answer of `stats --json`; its field names are promised in docs/operations.md."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from drum_supervisor.resources.process_reader import ZOMBIE, ProcessResources
from drum_supervisor.resources.snapshot import ResourceSnapshot
from drum_supervisor.supervise.api.status import each_extra, each_program, service_status
from drum_supervisor.supervise.engine.engine import Engine
from drum_supervisor.supervise.service.context import Context
from drum_supervisor.supervise.stats.sampler import Sampler
from drum_supervisor.supervise.stats.scan import ScanTarget
from drum_supervisor.supervise.stats.usage_log import ProcessTree, Sample

DescribeProcess: TypeAlias = Callable[[ProcessResources], dict[str, Any]]


def running_targets(engine: Engine, context: Context) -> list[ScanTarget]:
    now, wall = time.monotonic(), time.time()
    runs = ((program, context.service.current_run(program.name)) for program in context.programs.all)
    managed = [ScanTarget(program.name, run.pid, run.started, program.worker) for program, run in runs if run]
    extra = [each for each in engine.extra_programs() if each.pid]
    return managed + [ScanTarget(each.name, each.pid, now - (wall - each.started_at)) for each in extra]


@dataclass(frozen=True)
class StatsReporter:
    context: Context
    engine: Engine
    sampler: Sampler

    def stats(
        self,
        sample: Sample,
        shared_memory: bool = False,
        history: bool = False,
        describe: DescribeProcess | None = None,
    ) -> dict[str, Any]:
        """Return a sample, and the current state of the programs, as JSON-able values.

        Without `shared_memory` there are no USS and PSS, and `memory_bytes` is RSS even if the sample has them.
        """
        describe = describe or (_describe_fully if shared_memory else _without_shared_memory)
        epoch = time.time() - self.context.now()
        return {
            "taken_at": round(epoch + sample.started, 3),
            "phase": self.context.service.state.phase.value,
            "supervisor": _supervisor(sample.supervisor),
            "programs": self._programs(sample, shared_memory, describe),
            "totals": self._totals(),
            "cgroup": json_safe(asdict(sample.cgroup)),
            "history": self.sampler.history(epoch) if history else None,
        }

    def metrics(self, sample: Sample) -> dict[str, Any]:
        return {"service": service_status(self.context), "stats": self.stats(sample, describe=_describe_briefly)}

    def _programs(self, sample: Sample, shared_memory: bool, describe: DescribeProcess) -> list[dict[str, Any]]:
        programs = (*each_program(self.context), *each_extra(self.engine))
        return [
            {**facts, **_usage(sample.trees.get(name), facts["pid"], shared_memory, describe)}
            for name, facts in programs
        ]

    def _totals(self) -> list[dict[str, Any]]:
        # The CPU time of all runs since the supervisor started, by slot of the workers, and by other program.
        managed = [(each.name, each.group, each.slot or None) for each in self.context.programs.all]
        extra = [(each.name, each.name, None) for each in self.engine.extra_programs()]
        seconds: dict[tuple[str, int | None], float] = {}
        for name, program, worker in (*managed, *extra):
            seconds[program, worker] = seconds.get((program, worker), 0.0) + self.sampler.cpu_seconds(name)
        return [
            {"program": each, "worker": worker, "cpu_seconds": round(s, 2)} for (each, worker), s in seconds.items()
        ]


def _describe_fully(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process)}


def _without_shared_memory(process: ProcessResources) -> dict[str, Any]:
    return {**vars(process), "uss_bytes": None, "pss_bytes": None}


def _describe_briefly(process: ProcessResources) -> dict[str, Any]:
    return {"pid": process.pid, "virtual_bytes": process.virtual_bytes, "started_at": process.started_at}


def json_safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: json_safe(each) for name, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


_SUPERVISOR_FIELDS = "pid cpu_percent cpu_seconds rss_bytes virtual_bytes threads descriptors started_at".split()


def _supervisor(process: ProcessResources | None) -> dict[str, Any]:
    return {name: getattr(process, name, None) for name in _SUPERVISOR_FIELDS}


def _usage(tree: ProcessTree | None, pid: object, shared_memory: bool, describe: DescribeProcess) -> dict[str, Any]:
    # Null if the program is not running, or /proc does not show it.
    if tree is None or tree.pid != pid:
        return {"processes": [], **dict.fromkeys(_USAGE_FIELDS)}
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


_USAGE_FIELDS = (
    "memory_bytes",
    "counts_shared_once",
    "rss_bytes",
    "cpu_percent",
    "cpu_seconds",
    "threads",
    "descriptors",
)
