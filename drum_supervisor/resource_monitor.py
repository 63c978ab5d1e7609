"""Memory and CPU of a process tree and of its control group."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from drum_supervisor.request_state import RequestState
from drum_supervisor.resources.cgroup import read_cgroup
from drum_supervisor.resources.process_reader import ZOMBIE, ProcessReader, ProcessResources
from drum_supervisor.resources.procfs import descendants
from drum_supervisor.resources.snapshot import ResourceSnapshot

_MIB = 1024 * 1024


class ResourceMonitor:
    """Measures a process and its descendants.

    Reads several files per process: do not call it on an event loop. Thread-safe.

    Args:
        monitor_current_process: use this process as the root, whatever `pid` is.
        pid: the root process, in a gunicorn worker its master; by default this process.
        now: the clock, in seconds.
        root: the directory with `proc`, the control groups and their mounts.
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
        self._root = root
        self._lock = threading.Lock()
        self._reader = ProcessReader(now)

    def collect_resources_info(self, request_state: RequestState | None = None) -> dict[str, Any]:
        """Return `mem_info`, in MiB, and `drum_info`.

        `total`, `avail` and `free` are of the machine, `drum_rss` is the sum over the processes. Values of the
        container are None when unknown or unlimited.

        Args:
            request_state: accepted for DRUM's signature, without effect.
        """
        processes = self.collect_drum_info(request_state)
        machine = psutil.virtual_memory()
        container = read_cgroup(self._root_pid, self._root).memory
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
        """Return `{pid, cmdline, mem, cpu_percent}` of each process, the root first; empty when it is gone.

        `mem` is RSS in MiB. `cpu_percent` is of one core, since the previous call, or else since the process started.
        Secrets in command lines are masked.
        """
        return [
            {
                "pid": process.pid,
                "cmdline": list(process.command_line),
                "mem": process.rss_bytes / _MIB,
                "cpu_percent": process.cpu_percent,
            }
            for process in self._processes(shared_memory=False)
            if process.state != ZOMBIE
        ]

    def snapshot(self, shared_memory: bool = True) -> ResourceSnapshot:
        """Return all values of each process, and of the root's control group.

        Args:
            shared_memory: also read USS and PSS, for which the kernel walks the memory of each process.
        """
        processes = tuple(self._processes(shared_memory))
        return ResourceSnapshot(time.time(), processes, read_cgroup(self._root_pid, self._root))

    def close(self) -> None:
        """Forget the processes; the monitor may be used again."""
        with self._lock:
            self._reader.forget_all_but(())

    @property
    def _root_pid(self) -> int:
        return os.getpid() if self._pid is None else self._pid

    def _processes(self, shared_memory: bool) -> list[ProcessResources]:
        with self._lock:
            pids = [self._root_pid, *descendants(self._root_pid, _find_descendants, self._root / "proc")]
            found = [self._reader.read(pid, shared_memory=shared_memory) for pid in pids]
            living = [process for process in found if process is not None]
            self._reader.forget_all_but(process.pid for process in living)
        return living


def _find_descendants(pid: int) -> list[int]:
    # For kernels without lists of children: psutil reads every process of the host.
    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _mebibytes(number: int | None) -> float | None:
    return None if number is None else number / _MIB
