"""Answers of `stats` as JSON, and as the records that clients read from them."""

from typing import Any

from drum_supervisor.contract.json_records import from_json
from drum_supervisor.resources.stats import FullStats

MIB = 1024 * 1024

PROCESS = {
    "pid": 4711,
    "parent_pid": 4700,
    "name": "python",
    "command_line": ["/usr/bin/python3", "-m", "server"],
    "state": "sleeping",
    "cpu_percent": 12.5,
    "cpu_seconds": 3.0,
    "reaped_cpu_seconds": 0.0,
    "rss_bytes": 200 * MIB,
    "uss_bytes": 100 * MIB,
    "pss_bytes": 150 * MIB,
    "virtual_bytes": 900 * MIB,
    "threads": 8,
    "descriptors": 10,
    "started_at": 1767323000.0,
}
PROGRAM = {
    "name": "model-server",
    "group": "model-server",
    "worker": 1,
    "pid": 4711,
    "state": "ready",
    "ready": True,
    "uptime_s": 61.5,
    "processes": [PROCESS],
    "memory_bytes": 150 * MIB,
    "counts_shared_once": True,
    "rss_bytes": 200 * MIB,
    "cpu_percent": 12.5,
    "cpu_seconds": 3.0,
    "threads": 8,
    "descriptors": 10,
}
STOPPED = {
    **PROGRAM,
    **dict.fromkeys(["pid", "uptime_s", "memory_bytes", "counts_shared_once", "rss_bytes", "cpu_percent"]),
    **dict.fromkeys(["cpu_seconds", "threads", "descriptors"]),
    "state": "stopped",
    "ready": False,
    "processes": [],
}
UNKNOWN_CGROUP = {
    "memory": dict.fromkeys(
        "limit_bytes usage_bytes working_set_bytes peak_bytes limit_hits ooms oom_kills limiting".split()
    ),
    "cpu": dict.fromkeys(
        "quota_cores usage_seconds periods throttled_periods throttled_seconds period_seconds".split()
    ),
    **{f"{name}_pressure": {"some": None, "full": None} for name in ("memory", "cpu", "io")},
}
STATS = {
    "taken_at": 1767323045.678,
    "phase": "serving",
    "supervisor": {
        "pid": 4700,
        "cpu_percent": 0.1,
        "cpu_seconds": 0.3,
        "rss_bytes": 30 * MIB,
        "virtual_bytes": 100 * MIB,
        "threads": 1,
        "descriptors": 14,
        "started_at": 1767322990.0,
    },
    "programs": [PROGRAM],
    "totals": [{"program": "model-server", "worker": 1, "cpu_seconds": 7.0}],
    "cgroup": UNKNOWN_CGROUP,
    "history": {
        "times": [1767323043.0, 1767323044.0, 1767323045.0],
        "rss_bytes": [0, 100 * MIB, 200 * MIB],
        "working_set_bytes": [None, None, None],
        "cpu_percent": [99.0, 50.0, 12.5],
    },
}


def stats(**changes: Any) -> FullStats:
    """Return the answer with some values replaced."""
    return from_json(FullStats, {**STATS, **changes})
