"""What the kernel says about the control group of a process: memory, processor and pressure; versions 1 and 2.

Standard library only, and quick to import: the supervisor reads this about its children. Whatever is missing,
unreadable or no sensible number is None, and so is everything of the machine as a whole.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drum_supervisor.resources.cgroup_files import (
    NO_NUMBER,
    plausible,
    read_limit,
    read_number,
    read_period,
    read_quota,
    read_table,
    read_text,
)
from drum_supervisor.resources.cgroup_paths import Group, Groups, find_groups


@dataclass(frozen=True)
class Limiting:
    """The group, on the way up from that of the process, whose memory limit is the lowest.

    Attributes:
        directory: where it is shown.
        limit_bytes: its limit.
        usage_bytes: what it uses, everything below it included.
        peak_bytes: the most that it has used.
        ooms: how often its limit could not be kept by reclaiming (version 2: everything below it included).
    """

    directory: Path
    limit_bytes: int
    usage_bytes: int | None
    peak_bytes: int | None
    ooms: int | None


@dataclass(frozen=True)
class Memory:
    """Memory of a group and all below it.

    Attributes:
        limit_bytes: the lowest limit on the way up; None also when there is none.
        usage_bytes: all that is charged, caches included.
        working_set_bytes: usage without inactive caches of files, as the kubelet computes it; it evicts by this.
        peak_bytes: the highest usage; Linux 5.19 or version 1.
        limit_hits: how often the usage reached the limit, which reclaiming mostly resolves; version 2 (`memory.failcnt`
            of version 1 stays 0 when memory with swap has the same limit, even when processes are killed).
        ooms: how often it did not resolve it; version 2.
        oom_kills: processes that the kernel killed for want of memory, see `read_oom_kills`.
        limiting: the group that `limit_bytes` is from; None also when it cannot be seen from here.
    """

    limit_bytes: int | None = None
    usage_bytes: int | None = None
    working_set_bytes: int | None = None
    peak_bytes: int | None = None
    limit_hits: int | None = None
    ooms: int | None = None
    oom_kills: int | None = None
    limiting: Limiting | None = None


@dataclass(frozen=True)
class Cpu:
    """Processor time of a group.

    Attributes:
        quota_cores: the lowest quota on the way up, as a number of processors; None also when there is none.
        usage_seconds: processor time that was used.
        periods: periods that were begun, of the group that has the lowest quota; of its own without one.
        throttled_periods: those of them in which the quota was used up.
        throttled_seconds: how long its processes had to wait because of that, summed over processors.
        period_seconds: how long the period of that quota is; None also without one.
    """

    quota_cores: float | None = None
    usage_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    period_seconds: float | None = None


@dataclass(frozen=True)
class Stall:
    """How much of the time was lost by waiting: percent over the last 10, 60 and 300 s, and seconds in total."""

    avg10: float
    avg60: float
    avg300: float
    total_seconds: float


@dataclass(frozen=True)
class Pressure:
    """Stalls of some process of the group, and of all at the same time (Documentation/accounting/psi.rst)."""

    some: Stall | None = None
    full: Stall | None = None


@dataclass(frozen=True)
class Cgroup:
    """Everything that is read about the control groups of a process."""

    memory: Memory = field(default_factory=Memory)
    cpu: Cpu = field(default_factory=Cpu)
    memory_pressure: Pressure = field(default_factory=Pressure)
    cpu_pressure: Pressure = field(default_factory=Pressure)
    io_pressure: Pressure = field(default_factory=Pressure)


def read_cgroup(pid: int, root: Path = Path("/")) -> Cgroup:
    """Return what there is to know about the groups of `pid`; None everywhere when it is gone.

    Args:
        pid: the process.
        root: the folder below which `proc` and the mounts are.
    """
    return read_groups(find_groups(pid, root))


def read_groups(groups: Groups) -> Cgroup:
    """Return what there is to know about groups that were found while the process lived."""
    return Cgroup(
        memory=_memory(groups.memory),
        cpu=_cpu(groups.cpu, groups.cpuacct),
        memory_pressure=_pressure(groups.unified, "memory"),
        cpu_pressure=_pressure(groups.unified, "cpu"),
        io_pressure=_pressure(groups.unified, "io"),
    )


def read_oom_kills(groups: Groups) -> int | None:
    """Return how many processes of the group the kernel has killed for want of memory; reads one file.

    Find the groups while the process lives, and ask before and after its death. The kernel counts a kill where the
    victim was (memcg_memory_event_mm in mm/oom_kill.c), whoever's limit was reached: the group's, that of one above
    it, or the machine's memory. Version 2 counts what happens in groups below as well (`memory.events`; not
    `memory.events.local`), version 1 does not. Groups above are not asked: their kills may be of neighbours.
    """
    group = groups.memory
    return None if group is None else plausible(_events(group.directory, group.version).get("oom_kill"))


def read_working_set(groups: Groups) -> int | None:
    """Return the working set alone; reads two files."""
    if groups.memory is None:
        return None
    directory, names = groups.memory.directory, _NAMES[groups.memory.version]
    inactive = plausible(read_table(directory / "memory.stat").get(names.inactive_file))
    return working_set(read_number(directory / names.usage), inactive)


def _events(directory: Path, version: int) -> Mapping[str, int]:
    return read_table(directory / ("memory.events" if version == 2 else "memory.oom_control"))


@dataclass(frozen=True)
class _Names:
    """What the files about memory are called, and a line of `memory.stat`."""

    limit: str
    usage: str
    peak: str
    inactive_file: str


_NAMES = {
    1: _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "total_inactive_file"),
    2: _Names("memory.max", "memory.current", "memory.peak", "inactive_file"),
}


def _memory(group: Group | None) -> Memory:
    if group is None:
        return Memory()
    directory, names = group.directory, _NAMES[group.version]
    stat, events = read_table(directory / "memory.stat"), _events(directory, group.version)
    usage, limit = read_number(directory / names.usage), _lowest_limit(group, stat)
    return Memory(
        limit_bytes=limit,
        usage_bytes=usage,
        working_set_bytes=working_set(usage, plausible(stat.get(names.inactive_file))),
        peak_bytes=read_number(directory / names.peak),
        limit_hits=plausible(events.get("max")),
        ooms=plausible(events.get("oom")),
        oom_kills=plausible(events.get("oom_kill")),
        limiting=None if limit is None else _limiting(group, limit),
    )


def working_set(usage_bytes: int | None, inactive_file_bytes: int | None) -> int | None:
    """Return the usage without inactive caches of files, not below 0, as the kubelet has it from cAdvisor."""
    if usage_bytes is None or inactive_file_bytes is None:
        return None
    return max(usage_bytes - inactive_file_bytes, 0)


def _lowest_limit(group: Group, stat: Mapping[str, int]) -> int | None:
    """Version 1 tells the lowest limit itself, of groups that cannot be seen from here too."""
    if group.version == 1 and "hierarchical_memory_limit" in stat:
        return plausible(stat["hierarchical_memory_limit"])
    lowest = _lowest(read_limit(directory / _NAMES[group.version].limit) for directory in group.way_up)
    return None if lowest is None else int(lowest)


def _lowest(limits: Iterable[float | None]) -> float | None:
    """Return the lowest; None when nothing is limited, or when one cannot be told, for it might be the lowest."""
    lowest = math.inf
    for limit in limits:
        if limit is None:
            return None
        lowest = min(lowest, limit)
    return None if lowest >= NO_NUMBER else lowest


def _limiting(group: Group, limit: int) -> Limiting | None:
    names = _NAMES[group.version]
    for directory in group.way_up:
        if read_limit(directory / names.limit) == limit:
            return Limiting(
                directory=directory,
                limit_bytes=limit,
                usage_bytes=read_number(directory / names.usage),
                peak_bytes=read_number(directory / names.peak),
                ooms=plausible(_events(directory, group.version).get("oom")),
            )
    return None


def _cpu(group: Group | None, accounting: Group | None) -> Cpu:
    usage = _cpu_seconds(accounting)
    if group is None:
        return Cpu(usage_seconds=usage)
    quotas = {directory: read_quota(directory, group.version) for directory in group.way_up}
    lowest = _lowest(quotas.values())
    limited = next((directory for directory, quota in quotas.items() if quota == lowest), group.directory)
    stat = read_table(limited / "cpu.stat")
    return Cpu(
        quota_cores=lowest,
        usage_seconds=usage,
        periods=plausible(stat.get("nr_periods")),
        throttled_periods=plausible(stat.get("nr_throttled")),
        throttled_seconds=_throttled_seconds(stat, group.version),
        period_seconds=None if lowest is None else _seconds(read_period(limited, group.version), 1e6),
    )


def _throttled_seconds(stat: Mapping[str, int], version: int) -> float | None:
    return _seconds(stat.get("throttled_usec"), 1e6) if version == 2 else _seconds(stat.get("throttled_time"), 1e9)


def _cpu_seconds(group: Group | None) -> float | None:
    if group is None:
        return None
    if group.version == 2:
        return _seconds(read_table(group.directory / "cpu.stat").get("usage_usec"), 1e6)
    return _seconds(read_number(group.directory / "cpuacct.usage"), 1e9)


def _seconds(number: int | None, parts: float) -> float | None:
    known = plausible(number)
    return None if known is None else known / parts


def _pressure(group: Group | None, resource: str) -> Pressure:
    if group is None:
        return Pressure()
    try:
        lines = read_text(group.directory / f"{resource}.pressure").splitlines()
    except (OSError, ValueError):  # EOPNOTSUPP: the kernel was started with psi=0
        return Pressure()
    stalls = {line.partition(" ")[0]: _stall(line) for line in lines}
    return Pressure(stalls.get("some"), stalls.get("full"))


def _stall(line: str) -> Stall | None:
    """Read `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, the total in microseconds."""
    values = dict(word.partition("=")[::2] for word in line.split()[1:])
    try:
        *averages, total = (float(values[name]) for name in ("avg10", "avg60", "avg300", "total"))
    except (KeyError, ValueError):
        return None
    if all(0 <= average <= 100 for average in averages) and 0 <= total < NO_NUMBER:
        return Stall(averages[0], averages[1], averages[2], total / 1e6)
    return None
