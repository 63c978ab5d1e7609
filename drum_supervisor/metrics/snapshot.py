"""What metrics are made of: one answer of the supervisor, and the GPUs at the same moment."""

import math
import os
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drum_supervisor.resources.gpu import Gpu

SUPERVISOR = "supervisor"


@dataclass(frozen=True)
class Usage:
    """What a program uses, all its processes together; of a worker also its successor while both are there.

    Of what nobody knows, and of what does not run, the figures are None.

    Attributes:
        worker: which worker of the model server; empty for all other programs.
        is_running: whether it has a process.
        is_ready: whether it answers; None where nobody knows.
        cpu_seconds: since the supervisor began, of all its runs.
        cpu_percent: of one processor.
        max_descriptors: how many the process at the top may open.
        started_at: when the process at the top was started, seconds since the epoch.
        pids: of its processes.
    """

    program: str
    worker: str
    is_running: bool
    is_ready: bool | None
    cpu_seconds: float | None
    cpu_percent: float | None
    rss_bytes: float | None
    virtual_bytes: float | None
    descriptors: float | None
    max_descriptors: float | None
    threads: float | None
    started_at: float | None
    pids: frozenset[int] = frozenset()

    @property
    def labels(self) -> tuple[str, str]:
        return self.program, self.worker


@dataclass(frozen=True)
class Figures:
    """All of it.

    Attributes:
        service: as the supervisor tells it, see docs/operations.md.
        cgroup: the same.
        usages: of the supervisor first, then of its programs.
        processors: how many the programs may use.
    """

    service: Mapping[str, Any]
    cgroup: Mapping[str, Any]
    usages: tuple[Usage, ...]
    processors: float
    gpus: tuple[Gpu, ...] = ()

    def of_cgroup(self, *path: str) -> float | None:
        """Return a figure of the control group; None when nobody knows it."""
        found: Any = self.cgroup
        for name in path:
            found = None if found is None else found[name]
        return None if found is None else float(found)


def figures(
    answer: Mapping[str, Any], limit_of: Callable[[int], float | None], read_gpus: Callable[[frozenset[int]], list[Gpu]]
) -> Figures:
    """Read what the supervisor has answered.

    Args:
        answer: of `drum.metrics`.
        limit_of: returns how many descriptors a process may open.
        read_gpus: returns the GPUs, with these processes.
    """
    stats = answer["stats"]
    usages = (_supervisor(stats["supervisor"], limit_of), *_programs(stats, limit_of))
    pids = frozenset(pid for usage in usages for pid in usage.pids)
    cores = stats["cgroup"]["cpu"]["quota_cores"] or math.inf
    processors = min(float(len(os.sched_getaffinity(0))), cores)
    return Figures(answer["service"], stats["cgroup"], usages, processors, tuple(read_gpus(pids)))


def descriptor_limit(pid: int) -> float | None:
    """Return how many descriptors a process may open; None when it is gone, or another user's."""
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return None
    return math.inf if soft == resource.RLIM_INFINITY else float(soft)


def _supervisor(stats: Mapping[str, Any], limit_of: Callable[[int], float | None]) -> Usage:
    return Usage(
        program=SUPERVISOR,
        worker="",
        is_running=True,
        is_ready=None,
        cpu_seconds=stats["cpu_seconds"],
        cpu_percent=stats["cpu_percent"],
        rss_bytes=stats["rss_bytes"],
        virtual_bytes=stats["virtual_bytes"],
        descriptors=stats["descriptors"],
        max_descriptors=None if stats["pid"] is None else limit_of(stats["pid"]),
        threads=stats["threads"],
        started_at=stats["started_at"],
    )


def _programs(stats: Mapping[str, Any], limit_of: Callable[[int], float | None]) -> Iterable[Usage]:
    """Put together what has the same program and worker: a worker and its successor."""
    sides: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for program in stats["programs"]:
        sides.setdefault(_labels(program["group"] if program["worker"] else program["name"], program), []).append(
            program
        )
    totals = {_labels(total["program"], total): total["cpu_seconds"] for total in stats["totals"]}
    for labels, programs in sides.items():
        yield _usage(labels, programs, totals.get(labels), limit_of)


def _labels(program: str, record: Mapping[str, Any]) -> tuple[str, str]:
    return program, str(record["worker"] or "")


def _usage(
    labels: tuple[str, str],
    programs: Sequence[Mapping[str, Any]],
    cpu_seconds: float | None,
    limit_of: Callable[[int], float | None],
) -> Usage:
    processes = [process for program in programs for process in program["processes"]]
    tops = [program["processes"][0] for program in programs if program["processes"]]
    ready = [program["ready"] for program in programs if program["ready"] is not None]
    return Usage(
        *labels,
        is_running=any(program["pid"] for program in programs),
        is_ready=any(ready) if ready else None,
        cpu_seconds=cpu_seconds,
        cpu_percent=_sum(program["cpu_percent"] for program in programs),
        rss_bytes=_sum(program["rss_bytes"] for program in programs),
        virtual_bytes=_sum(process["virtual_bytes"] for process in processes),
        descriptors=_sum(program["descriptors"] for program in programs),
        max_descriptors=limit_of(tops[-1]["pid"]) if tops else None,
        threads=_sum(program["threads"] for program in programs),
        started_at=max((top["started_at"] for top in tops), default=None),
        pids=frozenset(process["pid"] for process in processes),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None
