"""What is kept of the programs' samples: the last one in full, the last ten minutes as curves, also of the dead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from drum_supervisor.contract.usage_series import Curve
from drum_supervisor.resources.cgroup import Cgroup, read_groups, read_working_set
from drum_supervisor.resources.cgroup_paths import Groups, find_groups
from drum_supervisor.resources.process_reader import ProcessResources
from drum_supervisor.supervise.stats.scan import CpuMeter, Question, Scan, Top
from drum_supervisor.supervise.stats.usage_ring import CAPACITY, MOST_POINTS, UsageRing

Trees: TypeAlias = Mapping[Top, Sequence[ProcessResources]]


@dataclass(frozen=True)
class Tree:
    """A program at a moment: its processes, and CPU of them and of those that are gone."""

    pid: int
    processes: tuple[ProcessResources, ...]
    cpu_percent: float
    cpu_seconds: float


@dataclass(frozen=True)
class Sample:
    """Everything at a moment of the monotonic clock; programs by name."""

    begun: float
    question: Question
    trees: dict[str, Tree]
    supervisor: ProcessResources | None
    cgroup: Cgroup


@dataclass
class _Record:
    """What is kept of the last run of a program."""

    top: Top
    ring: UsageRing
    cpu: CpuMeter
    groups: Groups
    working_set_bytes: int | None = None


class UsageLog:
    """The records of all programs, and the history of the model server as a whole.

    Args:
        workers: how many workers the model server has; with many of them each has a curve with fewer points.
        pid: of the supervisor.
    """

    def __init__(self, workers: int, pid: int) -> None:
        self.history = UsageRing()
        self._pid = pid
        self._capacity = max(CAPACITY // workers, MOST_POINTS)
        self._records: dict[str, _Record] = {}
        self._of_earlier_runs: dict[str, float] = {}

    def curve(self, name: str, pid: int, now: float) -> Curve | None:
        """Return the curve of a run until now, None when it was never seen."""
        record = self._records.get(name)
        return record.ring.until(now) if record is not None and record.top.pid == pid else None

    def cpu_seconds(self, name: str) -> float:
        """Return the processor time of a program, all its runs together; never falls."""
        record = self._records.get(name)
        return self._of_earlier_runs.get(name, 0.0) + (record.cpu.seconds if record else 0.0)

    def ended(self, name: str, pid: int, cpu_seconds: float) -> None:
        """A run has ended, and used so much, of which the samples may have seen a part, or more: of its descendants."""
        record = self._records.get(name)
        if record is not None and record.top.pid == pid:
            record.cpu.seconds = max(record.cpu.seconds, round(cpu_seconds, 2))
        else:
            self._of_earlier_runs[name] = self._of_earlier_runs.get(name, 0.0) + cpu_seconds

    def add(self, trees: Trees, at: float) -> None:
        """Keep what was found; while nothing of the model server is there, its history stands still."""
        workers = {top: self.add_one(top, processes, at) for top, processes in trees.items() if processes}
        workers = {top: record for top, record in workers.items() if top.worker}
        if workers:
            rss = sum(_rss(trees[top]) for top in workers)
            percent = sum(record.cpu.percent for record in workers.values())
            working_set = next(iter(workers.values())).working_set_bytes
            self.history.add(at, rss, working_set, round(percent, 1))

    def add_one(self, top: Top, processes: Sequence[ProcessResources], at: float) -> _Record:
        """Keep what was found of one program."""
        record = self._records.get(top.name)
        if record is None or record.top != top:
            self._of_earlier_runs[top.name] = self.cpu_seconds(top.name)
            record = _Record(top, UsageRing(self._capacity), CpuMeter(top.started), find_groups(top.pid))
            self._records[top.name] = record
        record.cpu.look(at, processes)
        if top.worker:
            record.working_set_bytes = read_working_set(record.groups)
            record.ring.add(at, _rss(processes), record.working_set_bytes, record.cpu.percent)
        return record

    def sample(self, found: Scan, trees: Trees) -> Sample:
        """Return everything about what was found and is kept already."""
        described = {}
        for top, processes in trees.items():
            cpu = self._records[top.name].cpu
            described[top.name] = Tree(top.pid, tuple(processes), cpu.percent, cpu.seconds)
        return Sample(found.begun, found.question, described, found.supervisor, self._cgroup(trees))

    def _cgroup(self, trees: Trees) -> Cgroup:
        """Return the group of the first worker, also of one that is dead; before there was any, the supervisor's."""
        workers = [record for record in self._records.values() if record.top.worker]
        if not workers:
            return read_groups(find_groups(self._pid))
        first = min(workers, key=lambda record: (record.top not in trees, record.top.worker))
        if first.top in trees:
            first.groups = find_groups(first.top.pid)  # it may have been moved
        return read_groups(first.groups)


def _rss(processes: Sequence[ProcessResources]) -> int:
    return sum(process.rss_bytes for process in processes)
