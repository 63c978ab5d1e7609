"""What single processes use, read from /proc. Remembers what it takes to tell a share of CPU the next time."""

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
    footprint,
    full_name,
    read_command_line,
    read_stat,
)
from drum_supervisor.resources.snapshot import ZOMBIE, ProcessResources

SHORTEST_SAMPLE = 0.1
"""The kernel counts CPU time in hundredths of a second: over less than this a percentage would be noise."""


@dataclass
class _Known:
    """What is remembered of a process: CPU time at a moment, the percentage then, and its command line, masked."""

    started: int
    started_at: float
    at: float
    cpu_seconds: float
    percent: float
    arguments: bytes = b""
    command_line: tuple[str, ...] = ()


class ProcessReader:
    """Reads processes. Standard library only; not safe under threads.

    Args:
        now: monotonic seconds.
        proc: where the kernel shows processes.
        most_shared: of a process with more resident memory than this, USS and PSS are not read.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, proc: Path = PROC, most_shared: float = math.inf
    ) -> None:
        self._now = now
        self._proc = proc
        self._most_shared = most_shared
        self._known: dict[int, _Known] = {}

    def read(self, pid: int, details: bool = True, shared_memory: bool = False) -> ProcessResources | None:
        """Return what a process uses; None when it is gone, or may not be looked at.

        Args:
            details: read its command line and count its descriptors too.
            shared_memory: read USS and PSS too, for which the kernel walks through the memory of the process.
        """
        stat = read_stat(pid, self._proc)
        if stat is None:
            return None
        known = self._remember(pid, stat)
        is_alive = stat.state != ZOMBIE
        command_line = self._command_line(pid, known) if details and is_alive else ()
        is_asked = shared_memory and is_alive and stat.rss_bytes <= self._most_shared
        memory = footprint(pid, self._proc) if is_asked else None
        descriptors = count_descriptors(pid, self._proc) if details and is_alive else None
        is_unknown = (is_asked and memory is None) or (details and is_alive and descriptors is None)
        if is_unknown and self._died_meanwhile(pid):
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

    def forget_others(self, pids: Iterable[int]) -> None:
        """Forget all processes but these."""
        self._known = {pid: self._known[pid] for pid in pids if pid in self._known}

    def _died_meanwhile(self, pid: int) -> bool:
        """Whether the kernel does not tell of a process because it is dead, rather than because we may not know."""
        stat = read_stat(pid, self._proc)
        return stat is None or stat.state == ZOMBIE

    def _remember(self, pid: int, stat: Stat) -> _Known:
        """Note the CPU time of a process: percent since the call before, the first time since it began."""
        now, known = self._now(), self._known.get(pid)
        if known is None or known.started != stat.started:
            lived = stat.age
            percent = 100 * stat.cpu_seconds / max(lived, SHORTEST_SAMPLE)
            known = self._known[pid] = _Known(
                stat.started, round(time.time() - lived, 2), now, stat.cpu_seconds, round(percent, 1)
            )
        elif now - known.at >= SHORTEST_SAMPLE:
            percent = 100 * (stat.cpu_seconds - known.cpu_seconds) / (now - known.at)
            known.at, known.cpu_seconds, known.percent = now, stat.cpu_seconds, round(max(percent, 0.0), 1)
        return known

    def _command_line(self, pid: int, known: _Known) -> tuple[str, ...]:
        """Return the arguments, masked anew only when they are others than before."""
        arguments = read_command_line(pid, self._proc)
        if arguments != known.arguments:
            known.arguments, known.command_line = arguments, masked(arguments)
        return known.command_line


def masked(arguments: bytes) -> tuple[str, ...]:
    """Return the arguments, each masked for itself, and whole those that are the value of the option before them."""
    texts = arguments.rstrip(b"\0").decode("utf-8", "replace").split("\0") if arguments else []
    return tuple(
        MASK if _names_a_secret(option) and not argument.startswith("--") else mask_secrets(argument)
        for option, argument in zip(("", *texts), texts, strict=False)
    )


def _names_a_secret(option: str) -> bool:
    return option.startswith("--") and not mask_secrets(f"{option} value").endswith(" value")
