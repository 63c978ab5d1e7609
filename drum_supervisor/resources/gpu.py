"""What processes use of NVIDIA's GPUs, from NVML. Only processes that may import nvidia-ml-py load this.

Written against nvidia-ml-py, whose module is called `pynvml`. Each question may be one that a driver, a GPU or its
mode does not answer: then the answer is None, or no process. Inside a container NVML may know the processes by the
numbers that they have outside of it; then none of ours is found, and what is said of the GPU as a whole is all.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import pynvml
except ImportError:
    pynvml = None

_RECENT = 1_000_000  # microseconds: NVML has a sample of each process every sixth of a second at least
_NOT_AVAILABLE = 2**64 - 1


@dataclass(frozen=True)
class GpuProcess:
    """What a process uses of one GPU; None where the driver does not tell."""

    pid: int
    memory_bytes: int | None
    utilization_percent: int | None


@dataclass(frozen=True)
class Gpu:
    """A GPU, and those of our processes that use it.

    Attributes:
        utilization_percent: how much of the time it was busy, with whatever process.
    """

    index: int
    uuid: str
    name: str
    memory_total_bytes: int | None
    memory_used_bytes: int | None
    utilization_percent: int | None
    processes: tuple[GpuProcess, ...] = ()


class Gpus:
    """All GPUs of the machine.

    Args:
        library: nvidia-ml-py's module, or what has the same functions; initialized already.
        now: seconds since the epoch.
    """

    def __init__(self, library: Any, now: Callable[[], float] = time.time) -> None:
        self._nvml = library
        self._errors = (library.NVMLError, library.NVMLLibraryMismatchError)  # the driver is too old for a function
        self._now = now

    @classmethod
    def open(cls, library: Any = pynvml) -> "Gpus | None":
        """Return the GPUs, None where there is no nvidia-ml-py, no driver, or no permission."""
        if library is None:
            return None
        try:
            library.nvmlInit()
        except library.NVMLError:
            return None
        return cls(library)

    def close(self) -> None:
        """Let go of the driver."""
        self._ask(self._nvml.nvmlShutdown)

    def read(self, pids: Collection[int]) -> list[Gpu]:
        """Return all GPUs, with those of the processes `pids` that use them."""
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        handles = [(index, self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
        return [self._gpu(index, handle, pids) for index, handle in handles if handle is not None]

    def _gpu(self, index: int, handle: Any, pids: Collection[int]) -> Gpu:
        memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=index,
            uuid=self._ask(self._nvml.nvmlDeviceGetUUID, handle) or "",
            name=self._ask(self._nvml.nvmlDeviceGetName, handle) or "",
            memory_total_bytes=None if memory is None else int(memory.total),
            memory_used_bytes=None if memory is None else int(memory.used),
            utilization_percent=None if rates is None else int(rates.gpu),
            processes=self._processes(handle, pids),
        )

    def _processes(self, handle: Any, pids: Collection[int]) -> tuple[GpuProcess, ...]:
        """A process that computes and draws is in both lists, each time with all its memory."""
        memory: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for process in self._running(kind, handle):
                if process.pid in pids:
                    memory[process.pid] = _larger(memory.get(process.pid), process.usedGpuMemory)
        utilization = self._utilization(handle) if memory else {}
        return tuple(GpuProcess(pid, used, utilization.get(pid)) for pid, used in sorted(memory.items()))

    def _running(self, kind: str, handle: Any) -> Sequence[Any]:
        """Ask for the processes of a kind; older drivers know only the second version of this question."""
        ask = f"nvmlDeviceGet{kind}RunningProcesses"
        found = self._ask(getattr(self._nvml, ask), handle)
        return self._ask(getattr(self._nvml, f"{ask}_v2"), handle) or () if found is None else found

    def _utilization(self, handle: Any) -> dict[int, int]:
        """Return the newest sample of each process."""
        since = int(self._now() * 1e6) - _RECENT
        samples = self._ask(self._nvml.nvmlDeviceGetProcessUtilization, handle, since) or ()
        recent = sorted((s for s in samples if s.timeStamp > since and s.smUtil <= 100), key=lambda s: s.timeStamp)
        return {int(sample.pid): int(sample.smUtil) for sample in recent}

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what NVML answers, None when it does not."""
        try:
            return function(*arguments)
        except self._errors:
            return None


def _larger(one: int | None, other: int | None) -> int | None:
    known = [memory for memory in (one, other) if memory is not None and memory != _NOT_AVAILABLE]
    return max(known, default=None)
