"""How each metric is read from a snapshot. A value that is unknown has no sample."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeAlias

from drum_supervisor import __version__
from drum_supervisor.metrics.snapshot import MetricsSnapshot, ProgramUsage
from drum_supervisor.resources.gpu_usage import Gpu, GpuProcess
from drum_supervisor.resources.stats import MetricsReport

MetricSample: TypeAlias = tuple[tuple[str, ...], float]
"""The label values, and the value."""

Reading: TypeAlias = Callable[[MetricsSnapshot], Iterable[MetricSample]]

Number: TypeAlias = float | None


def value(read: Callable[[MetricsReport], Number]) -> Reading:
    return lambda snapshot: _known(read(snapshot.report))


def usage(read: Callable[[ProgramUsage], Number]) -> Reading:
    return lambda snapshot: (each for usage in snapshot.usages for each in _known(read(usage), usage.labels))


def cpu_utilization(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    for each in snapshot.usages:
        percent = each.cpu_percent
        yield from _known(None if percent is None else percent / 100 / snapshot.processors, each.labels)


def cpu_quota(report: MetricsReport) -> Number:
    cores, period = report.stats.cgroup.cpu.quota_cores, report.stats.cgroup.cpu.period_seconds
    return None if cores is None or period is None else round(cores * period * 1e6)


def cpu_period(report: MetricsReport) -> Number:
    period = report.stats.cgroup.cpu.period_seconds
    return None if period is None else round(period * 1e6)


def counts(read: Callable[[MetricsReport], Mapping[str, float]]) -> Reading:
    """Read numbers by a label, such as the cause."""
    return lambda snapshot: [((label,), float(number)) for label, number in read(snapshot.report).items()]


def timestamp(read: Callable[[MetricsReport], str | None]) -> Reading:
    """Read a date, in seconds since the epoch."""

    def seconds(report: MetricsReport) -> Number:
        date = read(report)
        return None if date is None else datetime.fromisoformat(date).timestamp()

    return value(seconds)


def build(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    return _known(1, (__version__, platform.python_version()))


def server(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    return _known(1, (snapshot.report.service.server_type,))


def phase(snapshot: MetricsSnapshot) -> list[MetricSample]:
    current = snapshot.report.service.phase
    return [((each.value,), float(each is current)) for each in type(current)]


def oom_kills(report: MetricsReport) -> Number:
    found = report.service.out_of_memory
    return found.kills if found else 0


def gpu(read: Callable[[Gpu], Number], factor: float = 1) -> Reading:

    def samples(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        for each in snapshot.gpus:
            number = read(each)
            yield from _known(None if number is None else number * factor, (str(each.index), each.uuid, each.name))

    return samples


def program_gpu(read: Callable[[GpuProcess], Number], factor: float = 1) -> Reading:
    """Read a value of each program on each GPU which it uses, summed over its processes."""

    def samples(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        for each in snapshot.gpus:
            for program in snapshot.usages:
                values = [read(process) for process in each.processes if process.pid in program.pids]
                known = [number for number in values if number is not None]
                labels = (*program.labels, str(each.index), each.uuid, each.name)
                yield from _known(sum(known) * factor if known else None, labels)

    return samples


def _known(number: Number, labels: tuple[str, ...] = ()) -> Iterator[MetricSample]:
    if number is not None:
        yield labels, float(number)
