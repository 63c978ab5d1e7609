"""One look at all programs that run, in steps that are short whatever their number of processes.

Reads /proc, and nothing of the supervisor's.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from drum_supervisor.resources.process_reader import SHORTEST_SAMPLE, ZOMBIE, ProcessReader, ProcessResources
from drum_supervisor.resources.procfs import walk

MOST_STEPS = 100_000  # threads and processes of one program: a fork bomb must not keep us walking for ever


@dataclass(frozen=True)
class Top:
    """A program that runs.

    Attributes:
        worker: which worker of the model server, 0 for all other programs.
        started: seconds of the monotonic clock.
    """

    name: str
    pid: int
    started: float = field(compare=False)
    worker: int = 0


@dataclass(frozen=True)
class Question:
    """What a survey is to find out besides memory and CPU.

    Attributes:
        details: command lines and descriptors.
        shared_memory: USS and PSS.
    """

    details: bool = False
    shared_memory: bool = False

    def answers(self, other: "Question") -> bool:
        """Whether who asks this gets to know all that `other` asks."""
        return self.details >= other.details and self.shared_memory >= other.shared_memory

    def also(self, other: "Question | None") -> "Question":
        """Return the question that asks this and what `other` asks."""
        if other is None:
            return self
        return Question(self.details or other.details, self.shared_memory or other.shared_memory)


@dataclass(frozen=True)
class Scan:
    """What was found: the processes of each program, the one at the top first; none of one that is gone."""

    begun: float
    question: Question
    trees: Mapping[Top, tuple[ProcessResources, ...]]
    supervisor: ProcessResources | None


def survey(
    reader: ProcessReader, tops: Sequence[Top], own_pid: int, begun: float, question: Question
) -> Generator[None, None, Scan]:
    """Read all processes of the programs; each `next` reads a few files at most."""
    trees: dict[Top, tuple[ProcessResources, ...]] = {}
    for top in tops:
        found = []
        for pid in islice(walk(top.pid), MOST_STEPS):
            if pid is not None and (process := reader.read(pid, question.details, question.shared_memory)):
                found.append(process)
            yield
        is_there = found and found[0].pid == top.pid and found[0].state != ZOMBIE
        trees[top] = tuple(found) if is_there else ()
    return Scan(begun, question, trees, reader.read(own_pid, question.details))


class CpuMeter:
    """CPU of a tree whose processes come and go.

    What its parent has waited for is added to the parent's figures by the kernel, so that processes which live shorter
    than the time between two looks are counted too.

    Attributes:
        percent: of one processor, since the look before; in the first one, since the program began.
        seconds: processor time of all, also of those that are gone. Never falls: what leaves the tree stays counted.
    """

    def __init__(self, started: float) -> None:
        self.percent = 0.0
        self.seconds = 0.0
        self._at = started
        self._total = 0.0

    def look(self, at: float, processes: Sequence[ProcessResources]) -> None:
        passed = at - self._at
        if self._total and passed < SHORTEST_SAMPLE:
            return
        total = sum(process.cpu_seconds + process.reaped_cpu_seconds for process in processes)
        used = max(total - self._total, 0.0)
        self.percent = round(100 * used / max(passed, SHORTEST_SAMPLE), 1)
        self.seconds = round(self.seconds + used, 2)
        self._at, self._total = at, total
