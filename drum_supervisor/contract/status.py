"""The state of a supervisor: what `status --json` prints, and what the control socket answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from drum_supervisor.contract.failure_report import FailureReport
from drum_supervisor.contract.phase import Phase


@dataclass(frozen=True)
class RestartCounts:
    """Worker restarts by cause."""

    crash: Annotated[int, "after a crash"]
    request: Annotated[int, "requested by an operator"]
    retry: Annotated[int, "retries after a failure"]
    memory: Annotated[int, "above `--max-worker-memory`"]
    requests: Annotated[int, "at the request limit: `--max-requests`"]


@dataclass(frozen=True)
class OomKills:
    """The OOM kills since the supervisor started."""

    kills: Annotated[int, "their number"]
    last_at: Annotated[str, "time of the last one (ISO 8601, UTC)"]
    limit_bytes: Annotated[int | None, "the memory limit that it reached; null when unknown"]
    peak_bytes: Annotated[int | None, "the highest usage under that limit; null when unknown"]


@dataclass(frozen=True)
class ServiceSummary:
    """The state and the counters of the service, without its programs: the part that costs nothing to read."""

    phase: Annotated[Phase, "`starting`, `serving`, `failed`, `retrying`, `stopping`"]
    ready: Annotated[bool, "whether at least one worker answers requests"]
    degraded: Annotated[bool, "serving, but not with all workers"]
    error_server_active: Annotated[bool, "whether the error server answers instead of the model server"]
    server_type: Annotated[str, "`fastapi`, `flask`, `gunicorn`, `drum` or `command`"]
    since: Annotated[str, "start of the phase (ISO 8601, UTC)"]
    attempt: Annotated[int, "initialization attempts since the service was last ready, including the current one"]
    attempts_left: Annotated[int, "automatic retries left; 0 after a permanent failure"]
    next_retry_at: Annotated[str | None, "time of the next automatic retry (ISO 8601, UTC), or null"]
    workers: Annotated[int, "the configured number of workers"]
    workers_ready: Annotated[int, "how many are ready"]
    workers_coming: Annotated[int, "how many are starting"]
    workers_held: Annotated[int, "how many are [stopped by an operator](#supervisorctl)"]
    startup_seconds: Annotated[Mapping[str, float], "duration of the last start that made a worker ready, by worker"]
    restarts: Annotated[RestartCounts, "worker restarts by cause"]
    failures: Annotated[
        Mapping[str, int], "failures of the service by cause: those of the [failure report](#the-failure-report)"
    ]
    swaps: Annotated[
        Mapping[str, int],
        "how often the `error-server` replaced the model server, and the `model-server` the error server",
    ]
    out_of_memory: Annotated[
        OomKills | None,
        "null, or the OOM kills since the supervisor started; "
        "[includes kills that the service survived](resources.md#out-of-memory)",
    ]


_ProgramName: TypeAlias = Annotated[
    str, "`model-server`, `error-server`, `stand-in`, `exporter`, or the name of an [extra program](#extra-programs)"
]
_Worker: TypeAlias = Annotated[int | None, "number of the worker; null for other programs"]
_Pid: TypeAlias = Annotated[int | None, "of its root process; null while it does not run"]
_ProgramState: TypeAlias = Annotated[
    str,
    "`starting`, `ready`, `stopping`, `stopped`; "
    "of extra programs supervisord's: `running`, `backoff`, `fatal` and so on",
]
_Uptime: TypeAlias = Annotated[float | None, "seconds since its start; null while it does not run"]


@dataclass(frozen=True)
class ProgramRun:
    """A program and its current run."""

    name: _ProgramName
    group: Annotated[str, "`model-server` for each worker, else the name; of an extra program its group"]
    worker: _Worker
    pid: _Pid
    state: _ProgramState
    ready: Annotated[bool | None, "null for extra programs"]
    uptime_s: _Uptime


@dataclass(frozen=True)
class ProgramStatus:
    """A program as `status` shows it."""

    name: _ProgramName
    worker: _Worker
    pid: _Pid
    state: _ProgramState
    uptime_s: _Uptime
    memory_bytes: Annotated[
        int | None, "RSS of its whole process tree; null while it does not run, and above a thousand processes"
    ]


@dataclass(frozen=True)
class Status(ServiceSummary):
    """The status of a supervisor."""

    address: Annotated[str, "the address it serves on, port 0 resolved"]
    url: Annotated[str, "the same as a URL"]
    stage: Annotated[str, "while starting: the last stage that the model server reported, `load_model` for example"]
    replacing: Annotated[int, "workers that are still to be replaced"]
    restart_failure: Annotated[
        FailureReport | None,
        "null, or the failure report of the new worker that aborted the last restart; the old workers went on",
    ]
    programs: Annotated[tuple[ProgramStatus, ...], "all programs, model servers first"]
    failure: Annotated[FailureReport | None, "null, or the [failure report](#the-failure-report)"]
    run_dir: Annotated[str, "the run directory"]
    pid: Annotated[int, "of the supervisor"]
    version: Annotated[str, "of the supervisor"]
    serial: Annotated[int, "increases with every change"]
