"""A scan of /proc for all running programs, in steps that are short however many processes there are."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from drum_supervisor.resources.process_reader import ZOMBIE, ProcessResources
from drum_supervisor.resources.procfs import walk

MAX_STEPS = 100_000  # threads and processes of one program: a fork bomb must not make a scan endless

ReadProcess: TypeAlias = Callable[[int, bool, bool], ProcessResources | None]  # as `ProcessReader.read`


@dataclass(frozen=True)
class ScanTarget:
    """A running program."""

    name: str
    pid: int
    started: float = field(compare=False)  # seconds of the monotonic clock
    worker: int = 0  # of the model server; 0: another program


@dataclass(frozen=True)
class Detail:
    """What a scan reads besides memory and CPU."""

    full: bool = False  # command lines and the number of descriptors
    shared_memory: bool = False  # USS and PSS

    def covers(self, other: "Detail") -> bool:
        return self.full >= other.full and self.shared_memory >= other.shared_memory

    def merge(self, other: "Detail | None") -> "Detail":
        if other is None:
            return self
        return Detail(self.full or other.full, self.shared_memory or other.shared_memory)


@dataclass(frozen=True)
class Scan:
    started: float  # seconds of the monotonic clock
    detail: Detail
    trees: Mapping[ScanTarget, tuple[ProcessResources, ...]]  # its own process first; empty if it has exited
    supervisor: ProcessResources | None


def scan(
    read: ReadProcess, targets: Sequence[ScanTarget], own_pid: int, started: float, detail: Detail
) -> Generator[None, None, Scan]:
    """Read all processes of the targets; each `next` reads a few files at most."""
    trees: dict[ScanTarget, tuple[ProcessResources, ...]] = {}
    for target in targets:
        found = []
        for pid in islice(walk(target.pid), MAX_STEPS):
            if pid is not None and (process := read(pid, detail.full, detail.shared_memory)):
                found.append(process)
            yield
        is_running = found and found[0].pid == target.pid and found[0].state != ZOMBIE
        trees[target] = tuple(found) if is_running else ()
    return Scan(started, detail, trees, read(own_pid, detail.full, False))
