"""Resource usage as text: aligned, complete, within the terminal's width."""

from copy import deepcopy
from dataclasses import replace

import pytest

from drum_supervisor.cli.stats_tables import Sampled, stats_line, stats_text
from drum_supervisor.resources.gpu_usage import Gpu, GpuProcess
from tests.unit.stats_records import MIB, PROCESS, PROGRAM, STOPPED, UNKNOWN_CGROUP, stats


def cgroup(**groups):
    changed = deepcopy(UNKNOWN_CGROUP)
    for name, values in groups.items():
        changed[name].update(values)
    return changed


def text(gpus=None, **changes):
    return stats_text(Sampled(stats(**changes), gpus), "utf-8")


def test_shows_everything():
    assert text() == (
        "Phase       serving\n"
        "Supervisor  pid 4700, CPU 0.1 %, 30.0 MiB\n"
        "\n"
        "PROGRAM       STATE  PID   UPTIME     CPU     MEMORY     FILES\n"
        "model-server  ready  4711  1 min 1 s  12.5 %  150.0 MiB  10\n"
        "\n"
        "PID   STATE     CPU     MEMORY     THREADS  COMMAND\n"
        "4711  sleeping  12.5 %  150.0 MiB  8        python3 -m server\n"
        "\n"
        "Memory  ▁▅█\n"
        "        min 0.0 MiB, max 200.0 MiB, last 200.0 MiB, over 2.0 s\n"
        "CPU     █▅▂\n"
        "        min 12.5 %, max 99.0 %, last 12.5 %, over 2.0 s"
    )


def test_shows_limits_and_usage_of_the_control_group():
    memory = {"limit_bytes": 512 * MIB, "usage_bytes": 300 * MIB, "working_set_bytes": 256 * MIB, "oom_kills": 2}
    cpu = {"quota_cores": 1.5, "periods": 100, "throttled_periods": 7, "throttled_seconds": 0.25}
    stall = {"some": {"avg10": 3.25, "avg60": 1.0, "avg300": 0.5, "total_seconds": 9.0}}
    lines = text(cgroup=cgroup(memory={**memory, "peak_bytes": 400 * MIB}, cpu=cpu, memory_pressure=stall)).splitlines()
    assert "Working set  256.0 MiB of 512.0 MiB (50 %)" in lines
    assert "With caches  300.0 MiB, peak 400.0 MiB" in lines
    assert "OOM kills    2" in lines
    assert "CPU quota    1.5 processors, throttled in 7 of 100 periods, 0.2 s" in lines
    assert "Pressure     memory 3.2 % of the last 10 s" in lines


def test_no_memory_limit():
    assert "Working set  256.0 MiB, no limit\n" in text(cgroup=cgroup(memory={"working_set_bytes": 256 * MIB}))


def test_stopped_program_has_no_usage():
    assert "model-server  stopped  -    -       -    -       -\n" in text(programs=[STOPPED])


def test_history_of_a_stopped_model_server():
    assert text(programs=[STOPPED]).endswith("over 2.0 s\n        the model server has been gone for 0.7 s")


def test_no_sparkline_without_history():
    for history in (None, {"times": [], "rss_bytes": [], "working_set_bytes": [], "cpu_percent": []}):
        assert "min" not in text(history=history).replace("1 min", "")


def test_heading_is_rss_where_shared_pages_count_twice():
    assert "RSS" in text(programs=[{**PROGRAM, "counts_shared_once": False}])
    assert "RSS" not in text()


def test_only_the_largest_processes_are_shown():
    processes = [{**PROCESS, "pid": number, "pss_bytes": number * MIB} for number in range(1, 1001)]
    lines = text(programs=[{**PROGRAM, "processes": processes}]).splitlines()
    assert any(line.startswith("1000  sleeping") for line in lines)
    assert any(line.startswith("...") and line.endswith("and 985 more") for line in lines)
    assert len(lines) < 32


def test_no_line_is_wider_than_the_terminal():
    program = {**PROGRAM, "name": "model-server-199", "pid": 4194304, "uptime_s": 86399, "memory_bytes": 10**12}
    process = {**PROCESS, "pid": 4194304, "state": "disk-sleep", "cpu_percent": 12800.0, "command_line": ["x" * 300]}
    memory = {"limit_bytes": 10**12, "usage_bytes": 10**12, "working_set_bytes": 10**12, "peak_bytes": 10**12}
    shown = text(programs=[{**program, "processes": [process]}], cgroup=cgroup(memory=memory))
    assert max(map(len, shown.splitlines())) <= 80
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_control_characters_are_replaced():
    process = {**PROCESS, "command_line": ["/bin/x\x1b[2J\n", "\r"]}
    assert "x?[2J? ?" in text(programs=[{**PROGRAM, "processes": [process]}])


def test_process_without_command_line_shows_its_name():
    assert "[python]" in text(programs=[{**PROGRAM, "processes": [{**PROCESS, "command_line": [], "state": "zombie"}]}])


def test_shows_gpus():
    process = GpuProcess(pid=4711, memory_bytes=512 * MIB, utilization_percent=40)
    gpu = Gpu(0, "GPU-1", "NVIDIA A100", 40 * 1024 * MIB, 10 * 1024 * MIB, 45, (process,))
    shown = "GPU 0       NVIDIA A100, 10.00 GiB of 40.00 GiB, busy 45 %\n            pid 4711: 512.0 MiB, busy 40 %\n"
    assert shown in text(gpus=[gpu])
    unknown = replace(gpu, memory_used_bytes=None, utilization_percent=None, processes=())
    assert "GPU 0       NVIDIA A100\n" in text(gpus=[unknown])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "2026-01-02T03:04:05Z  serving   CPU 12.5 %  MEMORY 150.0 MiB"),
        ({"programs": [STOPPED]}, "2026-01-02T03:04:05Z  serving   CPU 0.0 %  MEMORY 0.0 MiB"),
        (
            {"programs": [PROGRAM, PROGRAM], "cgroup": cgroup(memory={"working_set_bytes": MIB}), "phase": "starting"},
            "2026-01-02T03:04:05Z  starting  CPU 25.0 %  MEMORY 300.0 MiB  working set 1.0 MiB",
        ),
    ],
)
def test_stats_line(changes, line):
    assert stats_line(stats(**changes)) == line
