"""Tables and texts for people, from the same values that `--json` prints. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from drum_supervisor.contract.failure import FailureReport


def status_text(status: dict[str, Any], now: float) -> str:
    """Return `status` for people; `now` in seconds since the epoch."""
    lines = [*_aligned(_facts(status, now)), "", *_aligned([_HEADINGS, *map(_program, status["programs"])])]
    return "\n".join(lines)


_HEADINGS = ("PROGRAM", "STATE", "PID", "UPTIME", "MEMORY")


def _facts(status: dict[str, Any], now: float) -> Iterable[Sequence[str]]:
    since = datetime.fromisoformat(status["since"]).timestamp()
    degraded = ", degraded" if status["degraded"] else ""
    yield "Phase", f"{status['phase']}{degraded}, for {duration(now - since)}"
    if status["stage"]:
        yield "Stage", status["stage"]
    if status["failure"]:
        yield "Failure", status["failure"]["error"]
    yield "Address", status["url"]
    yield "Server", f"{status['server_type']}, {status['workers_ready']} of {status['workers']} workers ready"
    yield "Attempt", f"{status['attempt']}, {status['attempts_left']} left{_retry(status)}"
    restarts = ", ".join(f"{number} by {cause}" for cause, number in status["restarts"].items() if number)
    yield "Restarts", restarts or "none"
    yield "Run dir", status["run_dir"]


def _retry(status: dict[str, Any]) -> str:
    if status["next_retry_at"]:
        return f", next at {status['next_retry_at']}"
    is_permanent = status["phase"] == "failed" and status["failure"]["permanent"]
    return ", not retried: it would only fail again" if is_permanent else ""


def _program(program: dict[str, Any]) -> Sequence[str]:
    uptime, memory = program["uptime_s"], program["memory_bytes"]
    return (
        program["name"],
        program["state"],
        str(program["pid"] or "-"),
        "-" if uptime is None else duration(uptime),
        "-" if memory is None else size(memory),
    )


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def failure_text(report: FailureReport) -> str:
    """Return a failure report for people."""
    lines = [report.error, "", *_aligned(_failure_facts(report))]
    if report.traceback:
        lines += ["", report.traceback.rstrip()]
    if report.stderr_tail and report.stderr_tail.strip() not in report.traceback:
        lines += ["", "The last lines of its stderr:", report.stderr_tail.rstrip()]
    return "\n".join(lines)


def _failure_facts(report: FailureReport) -> Iterable[Sequence[str]]:
    yield "Cause", report.cause.value
    if report.stage:
        yield "Stage", report.stage
    when = datetime.fromtimestamp(report.failed_at, timezone.utc).isoformat(timespec="seconds")
    yield "Failed at", f"{when}, {duration(report.seconds)} after its start"
    yield "Process", f"pid {report.pid}, worker {report.worker}, attempt {report.attempt}{_ending(report)}"
    if report.permanent:
        yield "Permanent", "another attempt would only fail again: repair it, then run drum-supervise restart"
    if report.peak_memory_bytes is not None:
        yield "Peak memory", size(report.peak_memory_bytes)


def _ending(report: FailureReport) -> str:
    if report.signal is not None:
        return f", killed by signal {report.signal}"
    return "" if report.exit_status is None else f", exit status {report.exit_status}"


def duration(seconds: float) -> str:
    """Return `3.2 s`, `4 min 5 s`, `2 h 3 min` or `5 d 6 h`."""
    if seconds < 59.95:  # more is rounded to 60.0
        return f"{max(seconds, 0.0):.1f} s"
    seconds = max(seconds, 60.0)
    for unit, name, below, smaller in ((60, "min", 1, "s"), (3600, "h", 60, "min"), (86400, "d", 3600, "h")):
        if seconds < unit * 60 or name == "d":
            return f"{seconds // unit:.0f} {name} {seconds % unit // below:.0f} {smaller}"
    raise AssertionError("unreachable")


def size(number: int) -> str:
    """Return bytes as `12.3 MiB`."""
    return f"{number / 1024**2:.1f} MiB" if number < 1024**3 else f"{number / 1024**3:.2f} GiB"
