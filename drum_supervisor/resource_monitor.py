"""Memory and CPU of a process and of all that it has started, in the shapes of DRUM's `/stats/`."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from drum_supervisor.contract.masking import MASK, mask_secrets
from drum_supervisor.request_state import RequestState

_MIB = 1024 * 1024

# The kernel counts CPU time in hundredths of a second: over less than this a percentage would be noise.
_SHORTEST_SAMPLE = 0.1

# cgroup v1 says "no limit" with a number close to 2**63.
_NO_LIMIT = 2**60


@dataclass(frozen=True)
class _Sample:
    """The CPU time that a process had used at a moment, and the percentage that was found then."""

    at: float
    cpu_seconds: float
    percent: float


class ResourceMonitor:
    """Measures a process and its descendants.

    Reads files of the kernel, one for each process of the machine: do not call it on an event loop.
    Safe under threads.

    Args:
        monitor_current_process: measure from this process downwards, whatever `pid` is.
        pid: the process at the top, in a gunicorn worker its master; without it, this process.
        now: the clock.
        cgroups: where the kernel shows control groups.
        own_cgroups: the file that says which of them this process is in.
    """

    def __init__(
        self,
        monitor_current_process: bool = False,
        pid: int | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        cgroups: Path = Path("/sys/fs/cgroup"),
        own_cgroups: Path = Path("/proc/self/cgroup"),
    ) -> None:
        self._pid = None if monitor_current_process else pid
        self._now = now
        self._cgroups = cgroups
        self._own_cgroups = own_cgroups
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
        memory = psutil.virtual_memory()
        limit, used, most_used = _container_memory(self._cgroups, self._own_cgroups)
        return {
            "mem_info": {
                "total": memory.total / _MIB,
                "avail": memory.available / _MIB,
                "free": memory.free / _MIB,
                "drum_rss": sum(process["mem"] for process in processes),
                "container_limit": limit,
                "container_max_used": most_used,
                "container_used": used,
            },
            "drum_info": processes,
        }

    def collect_drum_info(self, request_state: RequestState | None = None) -> list[dict[str, Any]]:
        """Return `{pid, cmdline, mem, cpu_percent}` of each process, the one at the top first; none when it is gone.

        `mem` is the resident memory in MiB. `cpu_percent` is of one core: since the call before, the first time since
        the process began. Secrets in command lines are masked.
        """
        with self._lock:
            found = [(process, self._describe(process)) for process in self._tree()]
            living = {process: record for process, record in found if record is not None}
            self._samples = {process: self._samples[process] for process in living}
        return list(living.values())

    def close(self) -> None:
        """Forget the processes. Collecting again is no error: it begins anew."""
        with self._lock:
            self._samples.clear()

    def _tree(self) -> list[psutil.Process]:
        try:
            top = psutil.Process(self._pid)
            return [top, *top.children(recursive=True)]
        except psutil.Error:
            return []

    def _describe(self, process: psutil.Process) -> dict[str, Any] | None:
        """Return the record of `process`; None when it has ended meanwhile, or is none of our business."""
        try:
            with process.oneshot():
                return {
                    "pid": process.pid,
                    "cmdline": _masked(process.cmdline()),
                    "mem": process.memory_info().rss / _MIB,
                    "cpu_percent": self._cpu_percent(process),
                }
        except psutil.Error:
            return None

    def _cpu_percent(self, process: psutil.Process) -> float:
        times, now = process.cpu_times(), self._now()
        used = times.user + times.system
        before = self._samples.get(process)
        if before is not None and now - before.at < _SHORTEST_SAMPLE:
            return before.percent
        if before is not None:
            percent = 100 * (used - before.cpu_seconds) / (now - before.at)
        else:
            percent = 100 * used / max(time.time() - process.create_time(), _SHORTEST_SAMPLE)
        self._samples[process] = _Sample(now, used, round(max(percent, 0.0), 1))
        return self._samples[process].percent


def _masked(arguments: list[str]) -> list[str]:
    """Mask each argument for itself, and whole those that are the value of the option before them."""
    return [
        MASK if _names_a_secret(option) and not argument.startswith("--") else mask_secrets(argument)
        for option, argument in zip(["", *arguments], arguments, strict=False)
    ]


def _names_a_secret(option: str) -> bool:
    return option.startswith("--") and not mask_secrets(f"{option} value").endswith(" value")


def _container_memory(cgroups: Path, own_cgroups: Path) -> tuple[float | None, float | None, float | None]:
    """Return limit, use and largest use of our control group, in MiB; None for what is unlimited or not known."""
    for controllers, path in _memberships(own_cgroups):
        if controllers == "":  # version 2
            base, names = cgroups, ("memory.max", "memory.current", "memory.peak")
        elif "memory" in controllers.split(","):
            base = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes")
        else:
            continue
        # In a container the group is mounted as if it were the root, while its path may be the host's.
        for folder in (base / path.lstrip("/"), base):
            limit, used, most_used = (_mebibytes(folder / name) for name in names)
            # Version 1 shows these for the machine as a whole as well; there it has no limit.
            if used is not None and (limit is not None or not controllers):
                return limit, used, most_used
    return None, None, None


def _memberships(own_cgroups: Path) -> list[tuple[str, str]]:
    try:
        lines = own_cgroups.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    fields = [line.split(":", 2) for line in lines]
    return [(parts[1], parts[2]) for parts in fields if len(parts) == 3]


def _mebibytes(file: Path) -> float | None:
    try:
        number = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or "max"
        return None
    return number / _MIB if number < _NO_LIMIT else None
