"""USS and PSS of large processes, read by the client of `stats` instead of the supervisor.

The kernel walks all pages of a process at once, a second for some tens of GiB. The supervisor's only thread must not
block that long, so it leaves these processes out.
"""

import time
from pathlib import Path
from typing import Any

from drum_supervisor.resources.procfs import PROC, read_footprint, read_stat

_TOLERANCE = 1.0  # seconds, between two readings of a start time


def complete(stats: dict[str, Any], proc: Path = PROC, now: float | None = None) -> dict[str, Any]:
    """Return `stats` with the missing USS and PSS of processes, where readable; `now` in seconds since the epoch."""
    # Pid and start time identify a process: in another container's PID namespace none is found.
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
    memory = read_footprint(process["pid"], proc)
    return process if memory is None else {**process, **memory._asdict()}
