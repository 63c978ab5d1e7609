"""Status, failure and check results as text, from the same values that `--json` prints. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from drum_supervisor.cli.sparkline import levels_for, sparkline
from drum_supervisor.cli.text import UNKNOWN, aligned, duration, percent, size_text
from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.contract.status import OomKills, ProgramStatus, Status


def status_text(status: Status, now: float) -> str:
    """Return `status` as tables; `now` is in seconds since the epoch."""
    lines = [*aligned(_status_rows(status, now)), "", *aligned([_HEADINGS, *map(_program_row, status.programs)])]
    return "\n".join(lines)


_HEADINGS = ("PROGRAM", "STATE", "PID", "UPTIME", "MEMORY")


def _status_rows(status: Status, now: float) -> Iterable[Sequence[str]]:
    since = datetime.fromisoformat(status.since).timestamp()
    degraded = ", degraded" if status.degraded else ""
    yield "Phase", f"{status.phase.value}{degraded}, for {duration(now - since)}"
    if status.stage:
        yield "Stage", status.stage
    if status.failure:
        yield "Failure", status.failure.error
    yield "Address", status.url
    stopped = f", {status.workers_held} stopped by an operator" if status.workers_held else ""
    yield "Server", f"{status.server_type}, {status.workers_ready} of {status.workers} workers ready{stopped}"
    yield "Attempt", f"{status.attempt}, {status.attempts_left} left{_retry(status)}"
    restarts = ", ".join(f"{number} by {cause}" for cause, number in vars(status.restarts).items() if number)
    yield "Restarts", restarts or "none"
    if status.out_of_memory:
        yield "Out of memory", _out_of_memory(status.out_of_memory, now)
    yield "Run dir", status.run_dir


def _retry(status: Status) -> str:
    if status.next_retry_at:
        return f", next at {status.next_retry_at}"
    is_permanent = status.phase is Phase.FAILED and status.failure is not None and status.failure.permanent
    return ", not retried: it would only fail again" if is_permanent else ""


def _out_of_memory(oom: OomKills, now: float) -> str:
    ago = duration(now - datetime.fromisoformat(oom.last_at).timestamp())
    count = "1 process was" if oom.kills == 1 else f"{oom.kills} processes were"
    sizes = [size_text(size) for size in (oom.peak_bytes, oom.limit_bytes) if size is not None]
    where = f" at {' of '.join(sizes)}" if oom.limit_bytes is not None else ""
    return f"{count} killed by the kernel, the last {ago} ago{where}"


def _program_row(program: ProgramStatus) -> Sequence[str]:
    uptime = program.uptime_s
    return (
        program.name,
        program.state,
        str(program.pid or UNKNOWN),
        UNKNOWN if uptime is None else duration(uptime),
        size_text(program.memory_bytes),
    )


def ready_text(seconds: float, peak_memory_bytes: int) -> str:
    """Return the result of `check` for a model server that became ready."""
    return f"Ready after {duration(seconds)}, peak memory {size_text(peak_memory_bytes)}."


def failure_text(report: FailureReport, encoding: str | None = "utf-8") -> str:
    """Return a failure report as text for an output of this encoding."""
    lines = [report.error, "", *aligned(_failure_rows(report))]
    if curve := report.curve:
        times = [-seconds for seconds in curve.seconds_before]
        rows = curve_rows(times, curve.rss_bytes, curve.working_set_bytes, curve.cpu_percent, encoding)
        lines += ["", *aligned(rows)]
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
        yield "Peak memory", size_text(report.peak_memory_bytes)


def _exit_text(report: FailureReport) -> str:
    if report.signal is not None:
        return f", killed by signal {report.signal}"
    return "" if report.exit_status is None else f", exit status {report.exit_status}"


def curve_rows(
    times: Sequence[float],
    rss_bytes: Sequence[float | None],
    working_set_bytes: Sequence[float | None],
    cpu_percent: Sequence[float | None],
    encoding: str | None,
    width: int = 80,
) -> Iterable[tuple[str, str]]:
    """Yield two rows per column with known values: the sparkline, and its range; `times` are in seconds."""
    over = duration(times[-1] - times[0])
    columns = (
        ("Memory", rss_bytes, size_text),
        ("Working set", working_set_bytes, size_text),
        ("CPU", cpu_percent, percent),
    )
    for label, column, to_text in columns:
        known = [value for value in column if value is not None]
        if known:
            lowest, highest, last = map(to_text, (min(known), max(known), known[-1]))
            yield label, sparkline(times, column, max(width - len("Working set  "), 10), levels_for(encoding))
            yield "", f"min {lowest}, max {highest}, last {last}, over {over}"
