"""USS and PSS of large processes, read by the client of `stats` instead of the supervisor.

The kernel walks all pages of a process at once, a second for some tens of GiB. The supervisor's only thread must not
block that long, so it leaves these processes out.
"""

import time
from dataclasses import replace
from pathlib import Path

from drum_supervisor.resources.procfs import PROC, Footprint, read_footprint, read_stat
from drum_supervisor.resources.stats import FullProgram, FullStats, sum_shared_once

_TOLERANCE = 1.0  # seconds, between two readings of a start time


def complete(stats: FullStats, proc: Path = PROC, now: float | None = None) -> FullStats:
    """Return `stats` with the missing USS and PSS of processes, where readable; `now` in seconds since the epoch."""
    # Pid and start time identify a process: in another container's PID namespace none is found.
    now = time.time() if now is None else now
    return replace(stats, programs=tuple(_completed(program, proc, now) for program in stats.programs))


def _completed(program: FullProgram, proc: Path, now: float) -> FullProgram:
    if program.counts_shared_once is not False:
        return program
    processes = tuple(
        each
        if each.pss_bytes is not None or (memory := _read_footprint(each.pid, each.started_at, proc, now)) is None
        else replace(each, uss_bytes=memory.uss_bytes, pss_bytes=memory.pss_bytes)
        for each in program.processes
    )
    memory_bytes, once = sum_shared_once(processes)
    return replace(program, processes=processes, memory_bytes=memory_bytes, counts_shared_once=once)


def _read_footprint(pid: int, started_at: float, proc: Path, now: float) -> Footprint | None:
    stat = read_stat(pid, proc)
    if stat is None or abs(now - stat.age - started_at) > _TOLERANCE:
        return None
    return read_footprint(pid, proc)
