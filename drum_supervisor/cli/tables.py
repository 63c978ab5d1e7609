"""Status, failure and check results as text, from the same values that `--json` prints. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from drum_supervisor.cli.sparkline import levels_for, sparkline
from drum_supervisor.config.parsers import format_size
from drum_supervisor.contract.failure_report import FailureReport


def status_text(status: dict[str, Any], now: float) -> str:
    """Return `status` as tables; `now` is in seconds since the epoch."""
    lines = [*aligned(_status_rows(status, now)), "", *aligned([_HEADINGS, *map(_program_row, status["programs"])])]
    return "\n".join(lines)


_HEADINGS = ("PROGRAM", "STATE", "PID", "UPTIME", "MEMORY")


def _status_rows(status: dict[str, Any], now: float) -> Iterable[Sequence[str]]:
    since = datetime.fromisoformat(status["since"]).timestamp()
    degraded = ", degraded" if status["degraded"] else ""
    yield "Phase", f"{status['phase']}{degraded}, for {duration(now - since)}"
    if status["stage"]:
        yield "Stage", status["stage"]
    if status["failure"]:
        yield "Failure", status["failure"]["error"]
    yield "Address", status["url"]
    stopped = f", {status['workers_held']} stopped by an operator" if status["workers_held"] else ""
    yield "Server", f"{status['server_type']}, {status['workers_ready']} of {status['workers']} workers ready{stopped}"
    yield "Attempt", f"{status['attempt']}, {status['attempts_left']} left{_retry(status)}"
    restarts = ", ".join(f"{number} by {cause}" for cause, number in status["restarts"].items() if number)
    yield "Restarts", restarts or "none"
    if status["out_of_memory"]:
        yield "Out of memory", _out_of_memory(status["out_of_memory"], now)
    yield "Run dir", status["run_dir"]


def _retry(status: dict[str, Any]) -> str:
    if status["next_retry_at"]:
        return f", next at {status['next_retry_at']}"
    is_permanent = status["phase"] == "failed" and status["failure"]["permanent"]
    return ", not retried: it would only fail again" if is_permanent else ""


def _out_of_memory(oom: dict[str, Any], now: float) -> str:
    ago = duration(now - datetime.fromisoformat(oom["last_at"]).timestamp())
    count = "1 process was" if oom["kills"] == 1 else f"{oom['kills']} processes were"
    sizes = [format_size(oom[name]) for name in ("peak_bytes", "limit_bytes") if oom[name] is not None]
    where = f" at {' of '.join(sizes)}" if oom["limit_bytes"] is not None else ""
    return f"{count} killed by the kernel, the last {ago} ago{where}"


def _program_row(program: dict[str, Any]) -> Sequence[str]:
    uptime, memory = program["uptime_s"], program["memory_bytes"]
    return (
        program["name"],
        program["state"],
        str(program["pid"] or "-"),
        "-" if uptime is None else duration(uptime),
        "-" if memory is None else format_size(memory),
    )


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line per row, with the cells in columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def ready_text(result: dict[str, Any]) -> str:
    """Return the result of `check` for a model server that became ready."""
    first = f"Ready after {duration(result['seconds'])}, peak memory {format_size(result['peak_memory_bytes'])}."
    ping = result["ping"]
    return f"{first}\n" + (f"GET {ping['path']}: {ping['status']} {ping['body']}" if ping else "It does not answer.")


def failure_text(report: FailureReport, encoding: str | None = "utf-8") -> str:
    """Return a failure report as text for an output of this encoding."""
    lines = [report.error, "", *aligned(_failure_rows(report))]
    if report.curve:
        times = [-seconds for seconds in report.curve.seconds_before]
        lines += ["", *aligned(curve_rows(times, vars(report.curve), encoding))]
    if report.traceback:
        lines += ["", report.traceback.rstrip()]
    if report.stderr_tail and report.stderr_tail.strip() not in report.traceback:
        lines += ["", "The last lines of its stderr:", report.stderr_tail.rstrip()]
    return "\n".join(lines)


def _failure_rows(report: FailureReport) -> Iterable[Sequence[str]]:
    yield "Cause", report.cause.value
    if report.stage:
        yield "Stage", report.stage
    when = datetime.fromtimestamp(report.failed_at, timezone.utc).isoformat(timespec="seconds")
    yield "Failed at", f"{when}, {duration(report.seconds)} after its start"
    yield "Process", f"pid {report.pid}, worker {report.worker}, attempt {report.attempt}{_exit_text(report)}"
    if report.permanent:
        yield "Permanent", "another attempt would only fail again: repair it, then run drum-supervise restart"
    if report.peak_memory_bytes is not None:
        yield "Peak memory", format_size(report.peak_memory_bytes)


def _exit_text(report: FailureReport) -> str:
    if report.signal is not None:
        return f", killed by signal {report.signal}"
    return "" if report.exit_status is None else f", exit status {report.exit_status}"


CURVES = {"rss_bytes": "Memory", "working_set_bytes": "Working set", "cpu_percent": "CPU"}


def curve_rows(
    times: Sequence[float], columns: Mapping[str, Sequence[float | None]], encoding: str | None, width: int = 80
) -> Iterable[tuple[str, str]]:
    """Yield two rows per column with known values: the sparkline, and its range; `times` are in seconds."""
    over = duration(times[-1] - times[0])
    for name, label in CURVES.items():
        known = [value for value in columns[name] if value is not None]
        if known:
            to_json = _percent if name == "cpu_percent" else _size
            lowest, highest, last = map(to_json, (min(known), max(known), known[-1]))
            yield label, sparkline(times, columns[name], max(width - len("Working set  "), 10), levels_for(encoding))
            yield "", f"min {lowest}, max {highest}, last {last}, over {over}"


def _size(number: float) -> str:
    return format_size(int(number))


def _percent(number: float) -> str:
    return f"{number:.1f} %"


def duration(seconds: float) -> str:
    """Format as `3.2 s`, `4 min 5 s`, `2 h 3 min` or `5 d 6 h`."""
    if seconds < 59.95:  # more is rounded to 60.0
        return f"{max(seconds, 0.0):.1f} s"
    seconds = max(seconds, 60.0)
    for unit, name, below, smaller in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        if seconds < unit * 60 or name == "d":
            return f"{seconds // unit:.0f} {name} {seconds % unit // below:.0f} {smaller}"
    raise AssertionError("unreachable")
