"""Memory, CPU and pressure of a process's control group, versions 1 and 2.

Standard library only, and fast to import: the supervisor reads this for its children. A value that is missing,
unreadable or implausible is None, and so is every value of the machine's root group.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drum_supervisor.resources.cgroup_files import (
    IMPLAUSIBLE,
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
class LimitingGroup:
    """The group with the lowest memory limit among the process's group and its ancestors."""

    directory: Path
    limit_bytes: int
    usage_bytes: int | None  # descendants included
    peak_bytes: int | None  # the highest usage
    ooms: int | None  # times reclaim could not keep the limit; in version 2 descendants included


@dataclass(frozen=True)
class Memory:
    """Memory of a group and its descendants."""

    limit_bytes: int | None = None  # the lowest of the group and its ancestors; None also without one
    usage_bytes: int | None = None  # caches included
    working_set_bytes: int | None = None  # usage less inactive file caches, as in the kubelet, which evicts by it
    peak_bytes: int | None = None  # the highest usage; Linux 5.19 or version 1
    # Times the usage reached the limit, which reclaim mostly resolves; version 2. (`memory.failcnt` of version 1 stays
    # 0 when memory with swap has the same limit, even when processes are killed.)
    limit_hits: int | None = None
    ooms: int | None = None  # times reclaim did not resolve it; version 2
    oom_kills: int | None = None  # OOM-killed processes, see `read_oom_kills`
    limiting: LimitingGroup | None = None  # the group of `limit_bytes`; None also when it is not visible


@dataclass(frozen=True)
class Cpu:
    """CPU time of a group. Periods and throttling are of the group with the lowest quota, or else of the group."""

    quota_cores: float | None = None  # the lowest of the group and its ancestors, in processors; None also without one
    usage_seconds: float | None = None
    periods: int | None = None  # elapsed
    throttled_periods: int | None = None  # in which the quota was used up
    throttled_seconds: float | None = None  # summed over processors
    period_seconds: float | None = None  # of the lowest quota; None also without one


@dataclass(frozen=True)
class Stall:
    """Time lost by waiting: percent over the last 10, 60 and 300 s, and in total."""

    avg10: float
    avg60: float
    avg300: float
    total_seconds: float


@dataclass(frozen=True)
class Pressure:
    """Stalls of some processes of the group, and of all at once (Documentation/accounting/psi.rst)."""

    some: Stall | None = None
    full: Stall | None = None

    @property
    def waiting_seconds(self) -> float | None:
        return None if self.some is None else self.some.total_seconds

    @property
    def stalled_seconds(self) -> float | None:
        return None if self.full is None else self.full.total_seconds


@dataclass(frozen=True)
class Cgroup:
    memory: Memory = field(default_factory=Memory)
    cpu: Cpu = field(default_factory=Cpu)
    memory_pressure: Pressure = field(default_factory=Pressure)
    cpu_pressure: Pressure = field(default_factory=Pressure)
    io_pressure: Pressure = field(default_factory=Pressure)


def read_cgroup(pid: int, root: Path = Path("/")) -> Cgroup:
    """Read the groups of `pid`, all None when it is gone; `root` contains `proc` and the mounts."""
    return read_groups(find_groups(pid, root))


def read_groups(groups: Groups) -> Cgroup:
    """Read groups found earlier, while the process was alive."""
    return Cgroup(
        memory=_memory(groups.memory),
        cpu=_cpu(groups.cpu, groups.cpuacct),
        memory_pressure=_pressure(groups.unified, "memory"),
        cpu_pressure=_pressure(groups.unified, "cpu"),
        io_pressure=_pressure(groups.unified, "io"),
    )


def read_oom_kills(groups: Groups) -> int | None:
    """Return the number of OOM-killed processes in the group, from one file."""
    # The kernel counts a kill in the victim's group (memcg_memory_event_mm in mm/oom_kill.c), whichever limit was
    # reached: the group's, an ancestor's, or the machine's memory. Version 2 includes descendants (`memory.events`, not
    # `memory.events.local`), version 1 does not. Ancestors are not read: their kills may be of neighbours.
    group = groups.memory
    return None if group is None else plausible(_events(group.directory, group.version).get("oom_kill"))


def read_working_set(groups: Groups) -> int | None:
    """Return the working set alone, from two files."""
    if groups.memory is None:
        return None
    directory, names = groups.memory.directory, _NAMES[groups.memory.version]
    inactive = plausible(read_table(directory / "memory.stat").get(names.inactive_file))
    return working_set(read_number(directory / names.usage), inactive)


def _events(directory: Path, version: int) -> Mapping[str, int]:
    return read_table(directory / ("memory.events" if version == 2 else "memory.oom_control"))


@dataclass(frozen=True)
class _Names:
    limit: str
    usage: str
    peak: str
    inactive_file: str  # a line of `memory.stat`


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
    """Return the usage less inactive file caches, as cAdvisor computes it for the kubelet."""
    if usage_bytes is None or inactive_file_bytes is None:
        return None
    return max(usage_bytes - inactive_file_bytes, 0)


def _lowest_limit(group: Group, stat: Mapping[str, int]) -> int | None:
    if group.version == 1 and "hierarchical_memory_limit" in stat:  # includes groups not visible from here
        return plausible(stat["hierarchical_memory_limit"])
    lowest = _lowest(read_limit(directory / _NAMES[group.version].limit) for directory in group.lineage)
    return None if lowest is None else int(lowest)


def _lowest(limits: Iterable[float | None]) -> float | None:
    """Return the lowest; None when nothing is limited, or one is unknown: it might be the lowest."""
    lowest = math.inf
    for limit in limits:
        if limit is None:
            return None
        lowest = min(lowest, limit)
    return None if lowest >= IMPLAUSIBLE else lowest


def _limiting(group: Group, limit: int) -> LimitingGroup | None:
    names = _NAMES[group.version]
    for directory in group.lineage:
        if read_limit(directory / names.limit) == limit:
            return LimitingGroup(
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
    quotas = {directory: read_quota(directory, group.version) for directory in group.lineage}
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
    except (OSError, ValueError):  # EOPNOTSUPP: booted with psi=0
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
    if all(0 <= average <= 100 for average in averages) and 0 <= total < IMPLAUSIBLE:
        return Stall(averages[0], averages[1], averages[2], total / 1e6)
    return None
