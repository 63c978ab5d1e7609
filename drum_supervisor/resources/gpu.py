"""Usage of NVIDIA GPUs, from NVML by nvidia-ml-py (module `pynvml`). The supervisor does not import this.

A driver, a GPU or its mode may not support a query: its result is None, or no process. Inside a container NVML may
report the host's pids; then none of our processes is found, and only the values of the whole GPU remain.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from drum_supervisor.resources.gpu_usage import Gpu, GpuProcess

try:
    import pynvml
except ImportError:
    pynvml = None

_RECENT = 1_000_000  # microseconds; NVML samples each process at least every sixth of a second
_NOT_AVAILABLE = 2**64 - 1


class Gpus:
    """All GPUs of the machine, by the initialized `library` (pynvml); `now` in seconds since the epoch."""

    def __init__(self, library: Any, now: Callable[[], float] = time.time) -> None:
        self._nvml = library
        self._errors = (library.NVMLError, library.NVMLLibraryMismatchError)  # the driver is too old for a function
        self._now = now

    @classmethod
    def open(cls, library: Any = pynvml) -> "Gpus | None":
        """Return the GPUs; None without nvidia-ml-py, a driver, or permission."""
        if library is None:
            return None
        try:
            library.nvmlInit()
        except library.NVMLError:
            return None
        return cls(library)

    def close(self) -> None:
        self._query(self._nvml.nvmlShutdown)

    def read(self, pids: Collection[int]) -> list[Gpu]:
        """Return all GPUs and, of the processes `pids`, those which use them."""
        count = self._query(self._nvml.nvmlDeviceGetCount) or 0
        handles = [(index, self._query(self._nvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
        return [self._gpu(index, handle, pids) for index, handle in handles if handle is not None]

    def _gpu(self, index: int, handle: Any, pids: Collection[int]) -> Gpu:
        memory = self._query(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._query(self._nvml.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=index,
            uuid=self._query(self._nvml.nvmlDeviceGetUUID, handle) or "",
            name=self._query(self._nvml.nvmlDeviceGetName, handle) or "",
            memory_total_bytes=None if memory is None else int(memory.total),
            memory_used_bytes=None if memory is None else int(memory.used),
            utilization_percent=None if rates is None else int(rates.gpu),
            processes=self._processes(handle, pids),
        )

    def _processes(self, handle: Any, pids: Collection[int]) -> tuple[GpuProcess, ...]:
        memory: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):  # a process in both lists has its whole memory in each
            for process in self._running(kind, handle):
                if process.pid in pids:
                    memory[process.pid] = _larger(memory.get(process.pid), process.usedGpuMemory)
        utilization = self._utilization(handle) if memory else {}
        return tuple(GpuProcess(pid, used, utilization.get(pid)) for pid, used in sorted(memory.items()))

    def _running(self, kind: str, handle: Any) -> Sequence[Any]:
        function = f"nvmlDeviceGet{kind}RunningProcesses"
        found: Sequence[Any] | None = self._query(getattr(self._nvml, function), handle)
        if found is None:  # older drivers have only the second version
            found = self._query(getattr(self._nvml, f"{function}_v2"), handle)
        return found or ()

    def _utilization(self, handle: Any) -> dict[int, int]:
        """Return the latest sample of each process."""
        since = int(self._now() * 1e6) - _RECENT
        samples = self._query(self._nvml.nvmlDeviceGetProcessUtilization, handle, since) or ()
        recent = sorted((s for s in samples if s.timeStamp > since and s.smUtil <= 100), key=lambda s: s.timeStamp)
        return {int(sample.pid): int(sample.smUtil) for sample in recent}

    def _query(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._errors:
            return None


def _larger(one: int | None, other: int | None) -> int | None:
    known = [memory for memory in (one, other) if memory is not None and memory != _NOT_AVAILABLE]
    return max(known, default=None)
