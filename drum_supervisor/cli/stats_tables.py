"""Resource usage as tables and log lines, from the same values that `stats --json` prints. Pure."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Annotated, NamedTuple, TypeAlias

from drum_supervisor.cli.tables import curve_rows
from drum_supervisor.cli.text import UNKNOWN, aligned, duration, percent, size_text, strip_controls
from drum_supervisor.resources.gpu_usage import Gpu
from drum_supervisor.resources.stats import FullStats, shared_once_bytes

Row = tuple[str, ...]

MAX_PROCESSES = 15


SampledGpus: TypeAlias = Annotated[
    tuple[Gpu, ...],
    "only with NVIDIA's driver and the extra `gpu`: all GPUs, and those of our processes which use them",
]


class Sampled(NamedTuple):
    """A sample as shown; `gpus` is None where they cannot be read."""

    stats: FullStats
    gpus: SampledGpus | None = None


def stats_text(sampled: Sampled, encoding: str | None, width: int = 80) -> str:
    """Return tables for an output of this encoding, with no line longer than `width`."""
    stats = sampled.stats
    blocks = [
        aligned(summary_rows(sampled)),
        aligned(program_rows(stats)),
        aligned(process_rows(stats)),
        aligned(history_rows(stats, encoding, width)),
    ]
    return "\n\n".join("\n".join(line[:width].rstrip() for line in block) for block in blocks if len(block) > 1)


def stats_line(stats: FullStats) -> str:
    """Return one line: `2026-01-02T03:04:05Z  serving  CPU 3.2 %  MEMORY 172.5 MiB  ...`."""
    moment = datetime.fromtimestamp(stats.taken_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = [program for program in stats.programs if program.processes]
    memory = size_text(sum(program.memory_bytes or 0 for program in running))
    cpu = sum(program.cpu_percent or 0.0 for program in running)
    fields = [moment, f"{stats.phase.value:8}", f"CPU {cpu:.1f} %", f"{memory_heading(stats)} {memory}"]
    working_set = stats.cgroup.memory.working_set_bytes
    if working_set is not None:
        fields.append(f"working set {size_text(working_set)}")
    return "  ".join(fields)


def summary_rows(sampled: Sampled) -> Iterator[Row]:
    stats, gpus = sampled
    supervisor = stats.supervisor
    yield "Phase", stats.phase.value
    yield (
        "Supervisor",
        f"pid {supervisor.pid}, CPU {percent(supervisor.cpu_percent)}, {size_text(supervisor.rss_bytes)}",
    )
    yield from _memory_rows(stats)
    yield from _cpu_rows(stats)
    stalls = {
        "memory": stats.cgroup.memory_pressure.some,
        "cpu": stats.cgroup.cpu_pressure.some,
        "io": stats.cgroup.io_pressure.some,
    }
    known = ", ".join(f"{name} {stall.avg10:.1f} %" for name, stall in stalls.items() if stall)
    if known:
        yield "Pressure", f"{known} of the last 10 s"
    for gpu in gpus or ():
        yield from _gpu_rows(gpu)


def _memory_rows(stats: FullStats) -> Iterator[Row]:
    memory = stats.cgroup.memory
    used, limit = memory.working_set_bytes, memory.limit_bytes
    if used is not None:
        share = f" of {size_text(limit)} ({100 * used / limit:.0f} %)" if limit else ", no limit"
        yield "Working set", f"{size_text(used)}{share}"
    if memory.usage_bytes is not None and memory.peak_bytes is not None:
        yield "With caches", f"{size_text(memory.usage_bytes)}, peak {size_text(memory.peak_bytes)}"
    if memory.oom_kills:
        yield "OOM kills", str(memory.oom_kills)


def _cpu_rows(stats: FullStats) -> Iterator[Row]:
    cpu = stats.cgroup.cpu
    if cpu.quota_cores is not None:
        throttled = ""
        if cpu.periods:
            throttled_for = duration(cpu.throttled_seconds or 0.0)
            throttled = f", throttled in {cpu.throttled_periods} of {cpu.periods} periods, {throttled_for}"
        yield "CPU quota", f"{cpu.quota_cores:g} processors{throttled}"


def _gpu_rows(gpu: Gpu) -> Iterator[Row]:
    parts = [strip_controls(gpu.name)]
    if gpu.memory_used_bytes is not None:
        parts.append(f"{size_text(gpu.memory_used_bytes)} of {size_text(gpu.memory_total_bytes)}")
    if gpu.utilization_percent is not None:
        parts.append(f"busy {gpu.utilization_percent} %")
    yield f"GPU {gpu.index}", ", ".join(parts)
    for process in gpu.processes:
        busy = "" if process.utilization_percent is None else f", busy {process.utilization_percent} %"
        yield "", f"pid {process.pid}: {size_text(process.memory_bytes)}{busy}"


def memory_heading(stats: FullStats) -> str:
    """Return MEMORY where shared pages count once, otherwise RSS."""
    running = [program for program in stats.programs if program.processes]
    return "MEMORY" if all(program.counts_shared_once for program in running) else "RSS"


def program_rows(stats: FullStats) -> Iterator[Row]:
    yield "PROGRAM", "STATE", "PID", "UPTIME", "CPU", memory_heading(stats), "FILES"
    for program in stats.programs:
        uptime = program.uptime_s
        yield (
            strip_controls(program.name),
            program.state,
            str(program.pid or UNKNOWN),
            UNKNOWN if uptime is None else duration(uptime),
            percent(program.cpu_percent),
            size_text(program.memory_bytes),
            _number(program.descriptors),
        )


def process_rows(stats: FullStats, limit: int = MAX_PROCESSES) -> Iterator[Row]:
    """Yield headings and the `limit` processes with the largest memory."""
    yield "PID", "STATE", "CPU", memory_heading(stats), "THREADS", "COMMAND"
    processes = [process for program in stats.programs for process in program.processes]
    processes.sort(key=shared_once_bytes, reverse=True)
    for process in processes[:limit]:
        yield (
            str(process.pid),
            process.state,
            percent(process.cpu_percent),
            size_text(shared_once_bytes(process)),
            str(process.threads),
            strip_controls(_command(process.name, process.command_line)),
        )
    if len(processes) > limit:
        rest = processes[limit:]
        yield "...", "", "", size_text(sum(map(shared_once_bytes, rest))), "", f"and {len(rest)} more"


def _command(name: str, command_line: Sequence[str]) -> str:
    program, *arguments = command_line or [f"[{name}]"]
    return " ".join([os.path.basename(program) or program, *arguments])


def history_rows(stats: FullStats, encoding: str | None, width: int) -> Iterator[Row]:
    """Yield a sparkline for each series of the model server, also after it has exited."""
    history = stats.history
    if history and history.times:
        yield from curve_rows(
            history.times, history.rss_bytes, history.working_set_bytes, history.cpu_percent, encoding, width
        )
        if not any(program.worker and program.pid for program in stats.programs):
            yield "", f"the model server has been gone for {duration(stats.taken_at - history.times[-1])}"


def _number(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)
