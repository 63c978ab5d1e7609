"""What is kept of the samples: the last one in full, and the last ten minutes as series, also of exited programs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.resources.cgroup import Cgroup, read_groups, read_working_set
from drum_supervisor.resources.cgroup_paths import Groups, find_groups
from drum_supervisor.resources.process_reader import MIN_SAMPLE_SECONDS, ProcessResources
from drum_supervisor.supervise.stats.scan import Detail, Scan, ScanTarget
from drum_supervisor.supervise.stats.usage_ring import CAPACITY, MAX_POINTS, UsageRing

Trees: TypeAlias = Mapping[ScanTarget, Sequence[ProcessResources]]


@dataclass(frozen=True)
class ProcessTree:
    """The processes of a program; the CPU figures include exited ones."""

    pid: int
    processes: tuple[ProcessResources, ...]
    cpu_percent: float
    cpu_seconds: float


@dataclass(frozen=True)
class Sample:
    """The resource usage of all programs, by name, at a moment of the monotonic clock."""

    started: float
    detail: Detail
    trees: dict[str, ProcessTree]
    supervisor: ProcessResources | None
    cgroup: Cgroup


class CpuMeter:
    """Measures the CPU time of a tree whose processes come and go.

    The kernel adds the CPU time of a process to its parent when the parent reaps it, so processes that live for less
    than the time between two samples count too.
    """

    def __init__(self, started: float) -> None:
        self.percent = 0.0  # of one CPU since the update before; at the first update, since the program started
        self.seconds = 0.0  # of all processes; never falls: what leaves the tree stays counted
        self._updated = started
        self._total = 0.0

    def update(self, now: float, processes: Sequence[ProcessResources]) -> None:
        passed = now - self._updated
        if self._total and passed < MIN_SAMPLE_SECONDS:
            return
        total = sum(process.cpu_seconds + process.reaped_cpu_seconds for process in processes)
        used = max(total - self._total, 0.0)
        self.percent = round(100 * used / max(passed, MIN_SAMPLE_SECONDS), 1)
        self.seconds = round(self.seconds + used, 2)
        self._updated, self._total = now, total


@dataclass
class _Record:
    target: ScanTarget
    ring: UsageRing
    cpu: CpuMeter
    groups: Groups
    working_set_bytes: int | None = None


class UsageLog:
    """The usage of all programs, and the history of the model server as a whole; `pid` is the supervisor's."""

    def __init__(self, workers: int, pid: int) -> None:
        self.history = UsageRing()
        self._pid = pid
        # With many workers the series of each has fewer points.
        self._capacity = max(CAPACITY // workers, MAX_POINTS)
        self._records: dict[str, _Record] = {}
        self._earlier_cpu_seconds: dict[str, float] = {}

    def usage_series(self, name: str, pid: int, now: float) -> UsageSeries | None:
        """Return the usage of a run until now; None if it was never sampled."""
        record = self._records.get(name)
        return record.ring.series_until(now) if record is not None and record.target.pid == pid else None

    def cpu_seconds(self, name: str) -> float:
        """Return the CPU time of all runs of a program; never falls."""
        record = self._records.get(name)
        return self._earlier_cpu_seconds.get(name, 0.0) + (record.cpu.seconds if record else 0.0)

    def record_exit(self, name: str, pid: int, cpu_seconds: float) -> None:
        """Record the CPU time of a reaped run; samples may have seen less of it, or more: its descendants' too."""
        record = self._records.get(name)
        if record is not None and record.target.pid == pid:
            record.cpu.seconds = max(record.cpu.seconds, round(cpu_seconds, 2))
        else:
            self._earlier_cpu_seconds[name] = self._earlier_cpu_seconds.get(name, 0.0) + cpu_seconds

    def record_all(self, trees: Trees, now: float) -> None:
        """Record a scan; the history gets no point while no worker runs."""
        read = cache(read_working_set)  # workers mostly share one group
        records = {
            target: self.record(target, processes, now, read) for target, processes in trees.items() if processes
        }
        workers = {target: record for target, record in records.items() if target.worker}
        if workers:
            rss = sum(_rss(trees[target]) for target in workers)
            percent = sum(record.cpu.percent for record in workers.values())
            working_set = next(iter(workers.values())).working_set_bytes
            self.history.add(now, rss, working_set, round(percent, 1))

    def record(
        self,
        target: ScanTarget,
        processes: Sequence[ProcessResources],
        now: float,
        read: Callable[[Groups], int | None] = read_working_set,
    ) -> _Record:
        record = self._records.get(target.name)
        if record is None or record.target != target:
            self._earlier_cpu_seconds[target.name] = self.cpu_seconds(target.name)
            record = _Record(target, UsageRing(self._capacity), CpuMeter(target.started), find_groups(target.pid))
            self._records[target.name] = record
        record.cpu.update(now, processes)
        if target.worker:
            record.working_set_bytes = read(record.groups)
            record.ring.add(now, _rss(processes), record.working_set_bytes, record.cpu.percent)
        return record

    def make_sample(self, found: Scan, trees: Trees) -> Sample:
        described = {}
        for target, processes in trees.items():
            cpu = self._records[target.name].cpu
            described[target.name] = ProcessTree(target.pid, tuple(processes), cpu.percent, cpu.seconds)
        return Sample(found.started, found.detail, described, found.supervisor, self._read_cgroup(trees))

    def _read_cgroup(self, trees: Trees) -> Cgroup:
        # That of the first worker, even of one that has exited; before the first start, that of the supervisor.
        workers = [record for record in self._records.values() if record.target.worker]
        if not workers:
            return read_groups(find_groups(self._pid))
        first = min(workers, key=lambda record: (record.target not in trees, record.target.worker))
        if first.target in trees:
            first.groups = find_groups(first.target.pid)  # it may have been moved
        return read_groups(first.groups)


def _rss(processes: Sequence[ProcessResources]) -> int:
    return sum(process.rss_bytes for process in processes)
