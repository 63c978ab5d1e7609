"""Where the values of each metric are in the figures. What nobody knows has no sample."""

import platform
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeAlias

from drum_supervisor import __version__
from drum_supervisor.metrics.figures import Figures

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""The values of the labels, and the value."""

Reading: TypeAlias = Callable[[Figures], Iterable[Sample]]

PHASES = ("starting", "serving", "failed", "retrying", "stopping")


def usage(name: str) -> Reading:
    """Read a figure of each program."""

    def read(figures: Figures) -> Iterator[Sample]:
        for each in figures.usages:
            yield from _known(getattr(each, name), each.labels)

    return read


def cpu_utilization(figures: Figures) -> Iterator[Sample]:
    for each in figures.usages:
        percent = each.cpu_percent
        yield from _known(None if percent is None else percent / 100 / figures.processors, each.labels)


def cgroup(*path: str) -> Reading:
    """Read a figure of the control group."""
    return lambda figures: _known(figures.of_cgroup(*path))


def cpu_quota(figures: Figures) -> Iterator[Sample]:
    cores, period = figures.of_cgroup("cpu", "quota_cores"), figures.of_cgroup("cpu", "period_seconds")
    return _known(None if cores is None or period is None else round(cores * period * 1e6))


def cpu_period(figures: Figures) -> Iterator[Sample]:
    period = figures.of_cgroup("cpu", "period_seconds")
    return _known(None if period is None else round(period * 1e6))


def service(name: str) -> Reading:
    """Read a number, or a truth, of the service."""
    return lambda figures: _known(figures.service[name])


def counts(name: str) -> Reading:
    """Read counts of the service, by what they are of."""
    return lambda figures: [((kind,), float(count)) for kind, count in figures.service[name].items()]


def moment(name: str) -> Reading:
    """Read a date of the service, as seconds since the epoch."""

    def read(figures: Figures) -> Iterator[Sample]:
        date = figures.service[name]
        return _known(None if date is None else datetime.fromisoformat(date).timestamp())

    return read


def build(figures: Figures) -> Iterator[Sample]:
    return _known(1, (__version__, platform.python_version()))


def server(figures: Figures) -> Iterator[Sample]:
    return _known(1, (figures.service["server_type"],))


def phase(figures: Figures) -> list[Sample]:
    return [((each,), float(each == figures.service["phase"])) for each in PHASES]


def startup(figures: Figures) -> list[Sample]:
    return [((worker,), seconds) for worker, seconds in figures.service["startup_seconds"].items()]


def out_of_memory_kills(figures: Figures) -> Iterator[Sample]:
    found = figures.service["out_of_memory"]
    return _known(found["kills"] if found else 0)


def gpu(name: str, factor: float = 1) -> Reading:
    """Read a figure of each GPU."""

    def read(figures: Figures) -> Iterator[Sample]:
        for each in figures.gpus:
            value = getattr(each, name)
            yield from _known(None if value is None else value * factor, (str(each.index), each.uuid, each.name))

    return read


def gpu_of_programs(name: str, factor: float = 1) -> Reading:
    """Read a figure of each program on each GPU that it uses, its processes together."""

    def read(figures: Figures) -> Iterator[Sample]:
        for each in figures.gpus:
            for program in figures.usages:
                values = [getattr(process, name) for process in each.processes if process.pid in program.pids]
                known = [value for value in values if value is not None]
                labels = (*program.labels, str(each.index), each.uuid, each.name)
                yield from _known(sum(known) * factor if known else None, labels)

    return read


def _known(value: float | None, labels: tuple[str, ...] = ()) -> Iterator[Sample]:
    if value is not None:
        yield labels, float(value)
