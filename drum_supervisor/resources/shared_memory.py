"""Shared memory of large processes, read by whoever asks for `stats` rather than by the supervisor.

The kernel walks through all pages of a process in one go, which takes a second for some tens of GiB; the supervisor,
whose one thread must not stand still for so long, leaves such processes out.
"""

import time
from pathlib import Path
from typing import Any

from drum_supervisor.resources.procfs import PROC, footprint, read_stat

_TOLERANCE = 1.0  # seconds, between two clocks of the same start


def complete(stats: dict[str, Any], proc: Path = PROC, now: float | None = None) -> dict[str, Any]:
    """Return `stats` with USS and PSS of the processes for which the supervisor had none, where they can be read.

    A process is known by its pid and its start: in another container's PID namespace nothing is found.

    Args:
        now: seconds since the epoch.
    """
    now = time.time() if now is None else now
    return {**stats, "programs": [_completed(program, proc, now) for program in stats["programs"]]}


def _completed(program: dict[str, Any], proc: Path, now: float) -> dict[str, Any]:
    if program["counts_shared_once"] is not False:
        return program
    processes = [_process(process, proc, now) for process in program["processes"]]
    memory = sum(each["rss_bytes"] if each["pss_bytes"] is None else each["pss_bytes"] for each in processes)
    once = all(each["pss_bytes"] is not None for each in processes)
    return {**program, "processes": processes, "memory_bytes": memory, "counts_shared_once": once}


def _process(process: dict[str, Any], proc: Path, now: float) -> dict[str, Any]:
    stat = None if process["pss_bytes"] is not None else read_stat(process["pid"], proc)
    if stat is None or abs(now - stat.age - process["started_at"]) > _TOLERANCE:
        return process
    memory = footprint(process["pid"], proc)
    return process if memory is None else {**process, **memory._asdict()}
