"""How each metric is read from a snapshot. A value that is unknown has no sample."""

import platform
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from drum_supervisor import __version__
from drum_supervisor.metrics.snapshot import MetricsSnapshot

MetricSample: TypeAlias = tuple[tuple[str, ...], float]
"""The label values, and the value."""

Reading: TypeAlias = Callable[[MetricsSnapshot], Iterable[MetricSample]]

PHASES = ("starting", "serving", "failed", "retrying", "stopping")


def usage(name: str) -> Reading:

    def read(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        for each in snapshot.usages:
            yield from _known(getattr(each, name), each.labels)

    return read


def cpu_utilization(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    for each in snapshot.usages:
        percent = each.cpu_percent
        yield from _known(None if percent is None else percent / 100 / snapshot.processors, each.labels)


def cgroup(*path: str) -> Reading:
    return lambda snapshot: _known(snapshot.cgroup_value(*path))


def cpu_quota(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    cores, period = snapshot.cgroup_value("cpu", "quota_cores"), snapshot.cgroup_value("cpu", "period_seconds")
    return _known(None if cores is None or period is None else round(cores * period * 1e6))


def cpu_period(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    period = snapshot.cgroup_value("cpu", "period_seconds")
    return _known(None if period is None else round(period * 1e6))


def service(name: str) -> Reading:
    return lambda snapshot: _known(snapshot.service[name])


def counters(name: str) -> Reading:
    return lambda snapshot: [((kind,), float(count)) for kind, count in snapshot.service[name].items()]


def timestamp(name: str) -> Reading:
    """Read a date of the service, in seconds since the epoch."""

    def read(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        date = snapshot.service[name]
        return _known(None if date is None else datetime.fromisoformat(date).timestamp())

    return read


def build(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    return _known(1, (__version__, platform.python_version()))


def server(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    return _known(1, (snapshot.service["server_type"],))


def phase(snapshot: MetricsSnapshot) -> list[MetricSample]:
    return [((each,), float(each == snapshot.service["phase"])) for each in PHASES]


def startup_seconds(snapshot: MetricsSnapshot) -> list[MetricSample]:
    return [((worker,), seconds) for worker, seconds in snapshot.service["startup_seconds"].items()]


def oom_kills(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
    found = snapshot.service["out_of_memory"]
    return _known(found["kills"] if found else 0)


def gpu(name: str, factor: float = 1) -> Reading:

    def read(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        for each in snapshot.gpus:
            value = getattr(each, name)
            yield from _known(None if value is None else value * factor, (str(each.index), each.uuid, each.name))

    return read


def program_gpu(name: str, factor: float = 1) -> Reading:
    """Read a value of each program on each GPU which it uses, summed over its processes."""

    def read(snapshot: MetricsSnapshot) -> Iterator[MetricSample]:
        for each in snapshot.gpus:
            for program in snapshot.usages:
                values = [getattr(process, name) for process in each.processes if process.pid in program.pids]
                known = [value for value in values if value is not None]
                labels = (*program.labels, str(each.index), each.uuid, each.name)
                yield from _known(sum(known) * factor if known else None, labels)

    return read


def _known(value: float | None, labels: tuple[str, ...] = ()) -> Iterator[MetricSample]:
    if value is not None:
        yield labels, float(value)
