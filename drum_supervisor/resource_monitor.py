"""Memory and CPU of a process and of all that it has started, and what its control group is allowed and uses."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from drum_supervisor.cgroup import read_cgroup
from drum_supervisor.contract.masking import MASK, mask_secrets
from drum_supervisor.process_files import age, descendants, footprint
from drum_supervisor.request_state import RequestState
from drum_supervisor.resource_snapshot import ProcessResources, ResourceSnapshot

_MIB = 1024 * 1024

# The kernel counts CPU time in hundredths of a second: over less than this a percentage would be noise.
_SHORTEST_SAMPLE = 0.1


@dataclass(frozen=True)
class _Sample:
    """The CPU time that a process had used at a moment, and the percentage that was found then."""

    at: float
    cpu_seconds: float
    percent: float
    started_at: float


class ResourceMonitor:
    """Measures a process and its descendants.

    Reads files of the kernel, some for each process of the tree: do not call it on an event loop. Safe under threads.

    Args:
        monitor_current_process: measure from this process downwards, whatever `pid` is.
        pid: the process at the top, in a gunicorn worker its master; without it, this process.
        now: the clock.
        root: the folder below which the lists of children, control groups and their mounts are.
    """

    def __init__(
        self,
        monitor_current_process: bool = False,
        pid: int | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        root: Path = Path("/"),
    ) -> None:
        self._pid = None if monitor_current_process else pid
        self._now = now
        self._root = root
        self._lock = threading.Lock()
        self._samples: dict[psutil.Process, _Sample] = {}

    def collect_resources_info(self, request_state: RequestState | None = None) -> dict[str, Any]:
        """Return `mem_info`, in MiB, and `drum_info`.

        `total`, `avail` and `free` are the machine's, `drum_rss` the sum over the processes; of the container those
        figures are None that nobody knows, or that are not limited.

        Args:
            request_state: the request that asks; the figures are of the processes, not of one request.
        """
        processes = self.collect_drum_info(request_state)
        machine = psutil.virtual_memory()
        container = read_cgroup(self._top, self._root).memory
        return {
            "mem_info": {
                "total": machine.total / _MIB,
                "avail": machine.available / _MIB,
                "free": machine.free / _MIB,
                "drum_rss": sum(process["mem"] for process in processes),
                "container_limit": _mebibytes(container.limit_bytes),
                "container_max_used": _mebibytes(container.peak_bytes),
                "container_used": _mebibytes(container.usage_bytes),
            },
            "drum_info": processes,
        }

    def collect_drum_info(self, request_state: RequestState | None = None) -> list[dict[str, Any]]:
        """Return `{pid, cmdline, mem, cpu_percent}` of each process, the one at the top first; none when it is gone.

        `mem` is the resident memory in MiB. `cpu_percent` is of one core: since the call before, the first time since
        the process began. Secrets in command lines are masked.
        """
        return [
            {
                "pid": process.pid,
                "cmdline": list(process.command_line),
                "mem": process.rss_bytes / _MIB,
                "cpu_percent": process.cpu_percent,
            }
            for process in self._processes(shared_memory=False)
            if process.state != psutil.STATUS_ZOMBIE
        ]

    def snapshot(self, shared_memory: bool = True) -> ResourceSnapshot:
        """Return everything about each process, and about the control group of the one at the top.

        Args:
            shared_memory: read USS and PSS too, for which the kernel walks through the memory of each process.
        """
        processes = tuple(self._processes(shared_memory))
        return ResourceSnapshot(time.time(), processes, read_cgroup(self._top, self._root))

    def close(self) -> None:
        """Forget the processes. Collecting again is no error: it begins anew."""
        with self._lock:
            self._samples.clear()

    @property
    def _top(self) -> int:
        return os.getpid() if self._pid is None else self._pid

    def _processes(self, shared_memory: bool) -> list[ProcessResources]:
        with self._lock:
            found = [(process, self._describe(process, shared_memory)) for process in self._tree()]
            living = {process: resources for process, resources in found if resources is not None}
            self._samples = {process: self._samples[process] for process in living}
        return list(living.values())

    def _tree(self) -> list[psutil.Process]:
        top = self._top
        below = descendants(top, _all_children, self._root / "proc")
        return [process for pid in (top, *below) for process in _process(pid)]

    def _describe(self, process: psutil.Process, shared_memory: bool) -> ProcessResources | None:
        """Return what `process` uses; None when it has ended meanwhile, or is none of our business."""
        try:
            with process.oneshot():
                sample = self._sample(process)
                return _zombie(process, sample) if _is_zombie(process) else _living(process, sample, shared_memory)
        except psutil.Error:
            return None

    def _sample(self, process: psutil.Process) -> _Sample:
        times, now = process.cpu_times(), self._now()
        used = times.user + times.system
        before = self._samples.get(process)
        if before is None:
            lived = age(process.pid)
            lived = time.time() - process.create_time() if lived is None else lived
            percent, started_at = 100 * used / max(lived, _SHORTEST_SAMPLE), time.time() - lived
        elif now - before.at < _SHORTEST_SAMPLE:
            return before
        else:
            percent, started_at = 100 * (used - before.cpu_seconds) / (now - before.at), before.started_at
        self._samples[process] = _Sample(now, used, round(max(percent, 0.0), 1), round(started_at, 2))
        return self._samples[process]


def _all_children(pid: int) -> list[int]:
    """Return all processes below `pid`, for kernels that have no lists of children: asks every process of the host."""
    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _process(pid: int) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        yield psutil.Process(pid)


def _is_zombie(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_ZOMBIE


def _living(process: psutil.Process, sample: _Sample, shared_memory: bool) -> ProcessResources:
    memory = footprint(process.pid) if shared_memory else None
    return replace(
        _zombie(process, sample),
        command_line=_masked(tuple(process.cmdline())),
        rss_bytes=process.memory_info().rss,
        uss_bytes=None if memory is None else memory.uss_bytes,
        pss_bytes=None if memory is None else memory.pss_bytes,
        descriptors=_descriptors(process),
    )


def _zombie(process: psutil.Process, sample: _Sample) -> ProcessResources:
    """Return what is known of dead processes too."""
    times = process.cpu_times()
    return ProcessResources(
        pid=process.pid,
        parent_pid=process.ppid(),
        name=process.name(),
        command_line=(),
        state=process.status(),
        cpu_percent=sample.percent,
        cpu_seconds=times.user + times.system,
        rss_bytes=0,
        uss_bytes=0,
        pss_bytes=0,
        threads=process.num_threads(),
        descriptors=None,
        started_at=sample.started_at,
    )


def _descriptors(process: psutil.Process) -> int | None:
    """Return how many files are open; processes of other users do not let us see that."""
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return None


@lru_cache(maxsize=128)
def _masked(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Mask each argument for itself, and whole those that are the value of the option before them."""
    return tuple(
        MASK if _names_a_secret(option) and not argument.startswith("--") else mask_secrets(argument)
        for option, argument in zip(("", *arguments), arguments, strict=False)
    )


def _names_a_secret(option: str) -> bool:
    return option.startswith("--") and not mask_secrets(f"{option} value").endswith(" value")


def _mebibytes(number: int | None) -> float | None:
    return None if number is None else number / _MIB
