"""Resource usage as tables and log lines, from the same values that `stats --json` prints. Pure."""

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from drum_supervisor.cli.tables import aligned, curve_rows, duration
from drum_supervisor.config.parsers import format_size

Row = tuple[str, ...]

MAX_PROCESSES = 15
UNKNOWN = "-"


def stats_text(stats: dict[str, Any], encoding: str | None, width: int = 80) -> str:
    """Return tables for an output of this encoding, with no line longer than `width`."""
    blocks = [
        aligned(summary_rows(stats)),
        aligned(program_rows(stats)),
        aligned(process_rows(stats)),
        aligned(history_rows(stats, encoding, width)),
    ]
    return "\n\n".join("\n".join(line[:width].rstrip() for line in block) for block in blocks if len(block) > 1)


def stats_line(stats: dict[str, Any]) -> str:
    """Return one line: `2026-01-02T03:04:05Z  serving  CPU 3.2 %  MEMORY 172.5 MiB  ...`."""
    moment = datetime.fromtimestamp(stats["taken_at"], timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    running = [program for program in stats["programs"] if program["processes"]]
    memory = format_size(sum(program["memory_bytes"] for program in running))
    cpu = sum(program["cpu_percent"] for program in running)
    fields = [moment, f"{stats['phase']:8}", f"CPU {cpu:.1f} %", f"{memory_heading(stats)} {memory}"]
    working_set = stats["cgroup"]["memory"]["working_set_bytes"]
    if working_set is not None:
        fields.append(f"working set {format_size(working_set)}")
    return "  ".join(fields)


def summary_rows(stats: dict[str, Any]) -> Iterator[Row]:
    supervisor = stats["supervisor"]
    yield "Phase", stats["phase"]
    yield (
        "Supervisor",
        f"pid {supervisor['pid']}, CPU {_percent(supervisor['cpu_percent'])}, {_size(supervisor['rss_bytes'])}",
    )
    yield from _memory_rows(stats["cgroup"]["memory"])
    yield from _cpu_rows(stats["cgroup"]["cpu"])
    stalls = {name: stats["cgroup"][f"{name}_pressure"]["some"] for name in ("memory", "cpu", "io")}
    known = ", ".join(f"{name} {stall['avg10']:.1f} %" for name, stall in stalls.items() if stall)
    if known:
        yield "Pressure", f"{known} of the last 10 s"
    for gpu in stats.get("gpus", ()):
        yield from _gpu_rows(gpu)


def _memory_rows(memory: dict[str, Any]) -> Iterator[Row]:
    used, limit = memory["working_set_bytes"], memory["limit_bytes"]
    if used is not None:
        share = f" of {format_size(limit)} ({100 * used / limit:.0f} %)" if limit else ", no limit"
        yield "Working set", f"{format_size(used)}{share}"
    if memory["usage_bytes"] is not None and memory["peak_bytes"] is not None:
        yield "With caches", f"{format_size(memory['usage_bytes'])}, peak {format_size(memory['peak_bytes'])}"
    if memory["oom_kills"]:
        yield "OOM kills", str(memory["oom_kills"])


def _cpu_rows(cpu: dict[str, Any]) -> Iterator[Row]:
    if cpu["quota_cores"] is not None:
        throttled = ""
        if cpu["periods"]:
            throttled_for = duration(cpu["throttled_seconds"] or 0.0)
            throttled = f", throttled in {cpu['throttled_periods']} of {cpu['periods']} periods, {throttled_for}"
        yield "CPU quota", f"{cpu['quota_cores']:g} processors{throttled}"


def _gpu_rows(gpu: dict[str, Any]) -> Iterator[Row]:
    parts = [strip_controls(gpu["name"])]
    if gpu["memory_used_bytes"] is not None:
        parts.append(f"{format_size(gpu['memory_used_bytes'])} of {format_size(gpu['memory_total_bytes'])}")
    if gpu["utilization_percent"] is not None:
        parts.append(f"busy {gpu['utilization_percent']} %")
    yield f"GPU {gpu['index']}", ", ".join(parts)
    for process in gpu["processes"]:
        busy = "" if process["utilization_percent"] is None else f", busy {process['utilization_percent']} %"
        yield "", f"pid {process['pid']}: {_size(process['memory_bytes'])}{busy}"


def memory_heading(stats: dict[str, Any]) -> str:
    """Return MEMORY where shared pages count once, otherwise RSS."""
    running = [program for program in stats["programs"] if program["processes"]]
    return "MEMORY" if all(program["counts_shared_once"] for program in running) else "RSS"


def program_rows(stats: dict[str, Any]) -> Iterator[Row]:
    yield "PROGRAM", "STATE", "PID", "UPTIME", "CPU", memory_heading(stats), "FILES"
    for program in stats["programs"]:
        uptime = program["uptime_s"]
        yield (
            strip_controls(program["name"]),
            program["state"],
            str(program["pid"] or UNKNOWN),
            UNKNOWN if uptime is None else duration(uptime),
            _percent(program["cpu_percent"]),
            _size(program["memory_bytes"]),
            _number(program["descriptors"]),
        )


def process_rows(stats: dict[str, Any], limit: int = MAX_PROCESSES) -> Iterator[Row]:
    """Yield headings and the `limit` processes with the largest memory."""
    yield "PID", "STATE", "CPU", memory_heading(stats), "THREADS", "COMMAND"
    processes = [process for program in stats["programs"] for process in program["processes"]]
    processes.sort(key=_memory, reverse=True)
    for process in processes[:limit]:
        yield (
            str(process["pid"]),
            process["state"],
            _percent(process["cpu_percent"]),
            format_size(_memory(process)),
            str(process["threads"]),
            strip_controls(_command(process)),
        )
    if len(processes) > limit:
        rest = processes[limit:]
        yield "...", "", "", format_size(sum(map(_memory, rest))), "", f"and {len(rest)} more"


def _command(process: dict[str, Any]) -> str:
    program, *arguments = process["command_line"] or [f"[{process['name']}]"]
    return " ".join([os.path.basename(program) or program, *arguments])


def _memory(process: dict[str, Any]) -> int:
    return int(process["rss_bytes"] if process["pss_bytes"] is None else process["pss_bytes"])


def history_rows(stats: dict[str, Any], encoding: str | None, width: int) -> Iterator[Row]:
    """Yield a sparkline for each series of the model server, also after it has exited."""
    history = stats["history"]
    if history and history["times"]:
        yield from curve_rows(history["times"], history, encoding, width)
        if not any(program["worker"] and program["pid"] for program in stats["programs"]):
            yield "", f"the model server has been gone for {duration(stats['taken_at'] - history['times'][-1])}"


def strip_controls(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _percent(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:.1f} %"


def _size(number: int | None) -> str:
    return UNKNOWN if number is None else format_size(number)


def _number(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)
