"""Reads the resource usage of processes, and remembers their CPU time for the next percentage."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from drum_supervisor.contract.masking import MASK, mask_secrets
from drum_supervisor.resources.procfs import (
    PROC,
    Stat,
    count_descriptors,
    full_name,
    read_command_line,
    read_footprint,
    read_stat,
)

MIN_SAMPLE_SECONDS = 0.1  # seconds; the kernel counts CPU time in hundredths, so that less would be noise


ZOMBIE = "zombie"


@dataclass(frozen=True)
class ProcessResources:
    """Resource usage of one process."""

    pid: int
    parent_pid: int
    name: str  # full, where the command line has the full name; else the kernel's 15 bytes
    command_line: tuple[str, ...]  # secrets are masked
    state: str  # psutil's words: "running", "sleeping", "disk-sleep", "zombie" and so on
    cpu_percent: float  # of one processor, since the previous call; in the first call, since the process started
    cpu_seconds: float  # user and system
    reaped_cpu_seconds: float  # of ended children it waited for, and of theirs
    rss_bytes: int  # shared pages count in full
    uss_bytes: int | None  # memory that its exit would free; None when unknown
    pss_bytes: int | None  # resident memory with 1/n of each page shared by n processes; None when unknown
    virtual_bytes: int  # address space
    threads: int
    descriptors: int | None  # open files; None when unknown
    started_at: float  # seconds since the epoch


@dataclass
class _Known:
    """The last reading of a process."""

    started: int  # ticks after boot
    started_at: float  # seconds since the epoch
    at: float
    cpu_seconds: float
    percent: float
    arguments: bytes = b""
    command_line: tuple[str, ...] = ()  # `arguments`, masked


class ProcessReader:
    """Standard library only; not thread-safe. USS and PSS are not read above `max_shared_bytes` bytes of RSS."""

    def __init__(
        self, now: Callable[[], float] = time.monotonic, proc: Path = PROC, max_shared_bytes: float = math.inf
    ) -> None:
        self._now = now
        self._proc = proc
        self._max_shared_bytes = max_shared_bytes
        self._known: dict[int, _Known] = {}

    def read(self, pid: int, details: bool = True, shared_memory: bool = False) -> ProcessResources | None:
        """Return the resource usage of a process; None when it is gone or not accessible."""
        # `details`: command line and number of descriptors.
        # `shared_memory`: USS and PSS, for which the kernel walks the memory of the process.
        stat = read_stat(pid, self._proc)
        if stat is None:
            return None
        known = self._remember(pid, stat)
        is_alive = stat.state != ZOMBIE
        command_line = self._command_line(pid, known) if details and is_alive else ()
        reads_shared = shared_memory and is_alive and stat.rss_bytes <= self._max_shared_bytes
        memory = read_footprint(pid, self._proc) if reads_shared else None
        descriptors = count_descriptors(pid, self._proc) if details and is_alive else None
        is_incomplete = (reads_shared and memory is None) or (details and is_alive and descriptors is None)
        if is_incomplete and self._has_died(pid):
            return self.read(pid, details, shared_memory)
        return ProcessResources(
            pid=pid,
            parent_pid=stat.parent_pid,
            name=full_name(stat.name, command_line),
            command_line=command_line,
            state=stat.state,
            cpu_percent=known.percent,
            cpu_seconds=stat.cpu_seconds,
            reaped_cpu_seconds=stat.reaped_cpu_seconds,
            rss_bytes=stat.rss_bytes,
            uss_bytes=(memory.uss_bytes if memory else None) if is_alive else 0,
            pss_bytes=(memory.pss_bytes if memory else None) if is_alive else 0,
            virtual_bytes=stat.virtual_bytes,
            threads=stat.threads,
            descriptors=descriptors,
            started_at=known.started_at,
        )

    def forget_all_but(self, pids: Iterable[int]) -> None:
        self._known = {pid: self._known[pid] for pid in pids if pid in self._known}

    def _has_died(self, pid: int) -> bool:
        """Whether a value is missing because the process died, rather than for lack of permission."""
        stat = read_stat(pid, self._proc)
        return stat is None or stat.state == ZOMBIE

    def _remember(self, pid: int, stat: Stat) -> _Known:
        now, known = self._now(), self._known.get(pid)
        if known is None or known.started != stat.started:
            age = stat.age
            percent = 100 * stat.cpu_seconds / max(age, MIN_SAMPLE_SECONDS)
            started_at = round(time.time() - age, 2)
            known = self._known[pid] = _Known(stat.started, started_at, now, stat.cpu_seconds, round(percent, 1))
        elif now - known.at >= MIN_SAMPLE_SECONDS:
            percent = 100 * (stat.cpu_seconds - known.cpu_seconds) / (now - known.at)
            known.at, known.cpu_seconds, known.percent = now, stat.cpu_seconds, round(max(percent, 0.0), 1)
        return known

    def _command_line(self, pid: int, known: _Known) -> tuple[str, ...]:
        arguments = read_command_line(pid, self._proc)
        if arguments != known.arguments:  # masking is expensive
            known.arguments, known.command_line = arguments, mask_arguments(arguments)
        return known.command_line


def mask_arguments(arguments: bytes) -> tuple[str, ...]:
    """Mask each argument, and the whole argument after an option with a secret name."""
    texts = arguments.rstrip(b"\0").decode("utf-8", "replace").split("\0") if arguments else []
    return tuple(
        MASK if _names_a_secret(option) and not argument.startswith("--") else mask_secrets(argument)
        for option, argument in zip(("", *texts), texts, strict=False)
    )


def _names_a_secret(option: str) -> bool:
    return option.startswith("--") and not mask_secrets(f"{option} value").endswith(" value")
