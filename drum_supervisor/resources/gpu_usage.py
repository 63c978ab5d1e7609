"""The usage of GPUs, as `stats --json` and the metrics have it. The supervisor does not import this."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class GpuProcess:
    """The usage of one GPU by one process; None where the driver does not report it."""

    pid: Annotated[int, "of a process of ours"]
    memory_bytes: Annotated[int | None, "memory of the GPU that it uses"]
    utilization_percent: Annotated[int | None, "of the time, for this process"]


@dataclass(frozen=True)
class Gpu:
    """A GPU, and our processes which use it."""

    index: Annotated[int, "its number on the machine, from 0"]
    uuid: Annotated[str, "as NVIDIA's driver names it"]
    name: Annotated[str, "the model"]
    memory_total_bytes: Annotated[int | None, "null where the driver does not report it, as below"]
    memory_used_bytes: Annotated[int | None, "by all processes"]
    utilization_percent: Annotated[int | None, "of the time, for any process"]
    processes: Annotated[tuple[GpuProcess, ...], "those of ours which use it"] = ()
