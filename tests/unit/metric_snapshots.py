"""Answers of the supervisor to `drum.metrics`, with every possible value."""

from typing import Any

from drum_supervisor.contract.json_records import from_json
from drum_supervisor.metrics.snapshot import MetricsSnapshot, build_snapshot
from drum_supervisor.resources.gpu_usage import Gpu, GpuProcess
from drum_supervisor.resources.stats import MetricsReport
from tests.unit.stats_records import MIB, PROCESS, PROGRAM, STATS, STOPPED

SERVICE: dict[str, Any] = {
    "phase": "serving",
    "ready": True,
    "degraded": True,
    "error_server_active": False,
    "server_type": "fastapi",
    "since": "2026-01-02T03:04:05.000+00:00",
    "attempt": 2,
    "attempts_left": 3,
    "next_retry_at": "2026-01-02T03:05:05.500+00:00",
    "workers": 2,
    "workers_ready": 1,
    "workers_coming": 1,
    "workers_held": 0,
    "startup_seconds": {"1": 2.5, "2": 3.5},
    "restarts": {"crash": 1, "request": 2, "retry": 3, "memory": 4, "requests": 5},
    "failures": {"init_failed": 1, "startup_timeout": 0, "kept_dying": 0, "died": 0},
    "swaps": {"error-server": 2, "model-server": 1},
    "out_of_memory": {"kills": 6, "last_at": "2026-01-02T03:04:05.000+00:00", "limit_bytes": 1, "peak_bytes": 1},
}
STALL = {"avg10": 1.0, "avg60": 1.0, "avg300": 1.0, "total_seconds": 9.5}
CGROUP = {
    "memory": {
        "limit_bytes": 400 * MIB,
        "usage_bytes": 300 * MIB,
        "working_set_bytes": 250 * MIB,
        "peak_bytes": 350 * MIB,
        "limit_hits": 1,
        "ooms": 1,
        "oom_kills": 2,
        "limiting": None,
    },
    "cpu": {
        "quota_cores": 1.5,
        "usage_seconds": 12.5,
        "periods": 1000,
        "throttled_periods": 250,
        "throttled_seconds": 7.5,
        "period_seconds": 0.05,
    },
    **{f"{name}_pressure": {"some": STALL, "full": STALL} for name in ("memory", "cpu", "io")},
}
GPUS = [Gpu(0, "GPU-1", "NVIDIA A100", 40, 10, 45, (GpuProcess(4711, 5, 30), GpuProcess(4712, 3, None)))]


def report(service: dict[str, Any] = SERVICE, **changes: Any) -> MetricsReport:
    """Return the report, with `changes` to its stats."""
    return from_json(MetricsReport, {"service": service, "stats": {**STATS, "cgroup": CGROUP, **changes}})


def everything() -> MetricsSnapshot:
    """Return a snapshot in which every metric has a value."""
    return build_snapshot(report(), lambda pid: 1024.0, lambda pids: GPUS)


def nothing() -> MetricsSnapshot:
    """Return a snapshot with hardly any value: nothing runs, and the kernel reports little."""
    service = {**SERVICE, "next_retry_at": None, "out_of_memory": None, "startup_seconds": {}}
    unknown = {"supervisor": dict.fromkeys(STATS["supervisor"]), "cgroup": _without_values(CGROUP)}
    found = report(service, programs=[STOPPED], totals=[], **unknown)
    return build_snapshot(found, lambda pid: None, lambda pids: [])


def _without_values(record: dict[str, Any]) -> dict[str, Any]:
    return {part: dict.fromkeys(values) for part, values in record.items()}


__all__ = ["CGROUP", "GPUS", "PROCESS", "PROGRAM", "SERVICE", "everything", "nothing", "report"]
