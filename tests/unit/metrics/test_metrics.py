import math
import re
import sys

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from drum_supervisor import __version__
from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.contract.phase import Phase
from drum_supervisor.metrics.catalogue import CONTAINER, METRICS, SERVICE, Kind
from drum_supervisor.metrics.exposition import render_metrics
from drum_supervisor.metrics.snapshot import build_snapshot, read_fd_limit
from tests.scrapes import OPENMETRICS, Scrape
from tests.unit.metric_snapshots import CGROUP, GPUS, PROCESS, PROGRAM, everything, nothing, report
from tests.unit.metric_snapshots import SERVICE as SERVICE_RECORD
from tests.unit.stats_records import MIB, STOPPED

WORKER = {"program": "model-server", "worker": "1"}
GPU = {"gpu": "0", "uuid": "GPU-1", "model": "NVIDIA A100"}


def scrape(snapshot=None) -> Scrape:
    return Scrape(render_metrics(snapshot or everything(), "")[0].decode())


def scrape_with(**changes) -> Scrape:
    return scrape(build_snapshot(report(**changes), lambda pid: 1024.0, lambda pids: GPUS))


def successor(**changes):
    """Return the successor of worker 1, which is starting."""
    process = {**PROCESS, "pid": 4800, "started_at": PROCESS["started_at"] + 100}
    return {**PROGRAM, "name": "model-server-next", "pid": 4800, "ready": False, "processes": [process], **changes}


class TestNames:
    def test_every_known_metric_has_a_value(self):
        names = {name for name, _ in scrape().series}
        assert {metric.name for metric in METRICS if metric.name} == names

    def test_names_and_help_follow_the_conventions(self):
        for metric in METRICS:
            assert re.fullmatch(r"(drum_supervisor|process|container)_[a-z0-9_]+|", metric.name)
            assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER) or "gpu_memory_total" in metric.name
            assert metric.name.endswith("_info") == (metric.kind is Kind.INFO)
            assert metric.name or metric.instrument
            assert metric.help.endswith(".")
        assert all(metric.name.startswith("container_") for metric in CONTAINER)

    def test_names_are_unique(self):
        for names in ([m.name for m in METRICS if m.name], [m.instrument.name for m in METRICS if m.instrument]):
            assert len(names) == len(set(names))

    def test_label_values_are_those_of_the_policy(self):
        phases = [labels for (name, labels) in scrape().series if name == "drum_supervisor_phase"]
        assert [dict(labels)["phase"] for labels in phases] == [phase.value for phase in Phase]
        assert list(SERVICE_RECORD["failures"]) == [cause.value for cause in Cause]


class TestValues:
    def test_values_of_processes(self):
        seen = scrape()
        assert seen("process_cpu_seconds_total", **WORKER) == 7.0  # of all runs, not only the current one
        assert seen("process_resident_memory_bytes", **WORKER) == 200 * MIB
        assert seen("process_virtual_memory_bytes", **WORKER) == 900 * MIB
        assert seen("process_open_fds", **WORKER) == 10
        assert seen("process_max_fds", **WORKER) == 1024
        assert seen("process_threads", **WORKER) == 8
        assert seen("process_start_time_seconds", **WORKER) == PROCESS["started_at"]
        assert seen("process_resident_memory_bytes", program="supervisor", worker="") == 30 * MIB

    def test_values_of_the_control_group(self):
        seen = scrape()
        assert seen("container_memory_usage_bytes") == 300 * MIB
        assert seen("container_memory_working_set_bytes") == 250 * MIB
        assert seen("container_memory_max_usage_bytes") == 350 * MIB
        assert seen("container_spec_memory_limit_bytes") == 400 * MIB
        assert seen("container_oom_events_total") == 2
        assert (seen("container_spec_cpu_quota"), seen("container_spec_cpu_period")) == (75_000, 50_000)
        assert seen("container_cpu_cfs_throttled_periods_total") == 250
        assert seen("container_pressure_memory_stalled_seconds_total") == 9.5

    def test_values_of_the_service(self):
        seen = scrape()
        assert seen("drum_supervisor_build_info", version=__version__, python_version=sys.version.split()[0]) == 1
        assert seen("drum_supervisor_server_info", server_type="fastapi") == 1
        assert seen.phase == ["serving"]
        assert sum(value for (name, _), value in seen.series.items() if name == "drum_supervisor_phase") == 1
        assert (seen("drum_supervisor_ready"), seen("drum_supervisor_degraded")) == (1, 1)
        assert seen("drum_supervisor_phase_start_time_seconds") == 1767323045.0
        assert seen("drum_supervisor_next_retry_timestamp_seconds") == 1767323105.5
        assert seen("drum_supervisor_startup_duration_seconds", worker="2") == 3.5
        assert seen("drum_supervisor_restarts_total", cause="memory") == 4
        assert seen("drum_supervisor_failures_total", cause="init_failed") == 1
        assert seen("drum_supervisor_swaps_total", to="error-server") == 2
        assert seen("drum_supervisor_out_of_memory_kills_total") == 6

    def test_gpu_usage_of_a_program_counts_its_own_processes(self):
        seen = scrape()
        assert seen("drum_supervisor_gpu_memory_used_bytes", **GPU) == 10
        assert seen("drum_supervisor_gpu_utilization_ratio", **GPU) == pytest.approx(0.45)
        assert (
            seen("drum_supervisor_program_gpu_memory_used_bytes", **WORKER, **GPU) == 5
        )  # 4712 belongs to another program
        assert seen("drum_supervisor_program_gpu_utilization_ratio", **WORKER, **GPU) == pytest.approx(0.3)

    def test_unknown_values_have_no_sample(self):
        seen = scrape(nothing())
        assert not {name for name in seen.names if name.startswith(("process_", "container_"))}
        assert seen("drum_supervisor_program_running", **WORKER) == 0
        assert seen("drum_supervisor_next_retry_timestamp_seconds") is None
        assert seen("drum_supervisor_out_of_memory_kills_total") == 0


class TestSuccessors:
    def test_worker_and_successor_count_together(self):
        seen = scrape_with(programs=[PROGRAM, successor()])
        assert seen("process_resident_memory_bytes", **WORKER) == 400 * MIB
        assert seen("process_cpu_seconds_total", **WORKER) == 7.0
        assert seen("process_start_time_seconds", **WORKER) == PROCESS["started_at"] + 100
        assert seen("drum_supervisor_program_ready", **WORKER) == 1

    def test_stopped_successor_does_not_hide_the_worker(self):
        stopped = {**STOPPED, "name": "model-server-next"}
        assert scrape_with(programs=[PROGRAM, stopped])("process_resident_memory_bytes", **WORKER) == 200 * MIB

    def test_extra_programs_have_no_readiness(self):
        other = {**PROGRAM, "name": "proxy:proxy_1", "group": "proxy", "worker": None, "ready": None}
        seen = scrape_with(
            programs=[PROGRAM, other], totals=[{"program": "proxy:proxy_1", "worker": None, "cpu_seconds": 2.0}]
        )
        labels = {"program": "proxy:proxy_1", "worker": ""}
        assert seen("process_cpu_seconds_total", **labels) == 2.0
        assert seen("drum_supervisor_program_running", **labels) == 1
        assert seen("drum_supervisor_program_ready", **labels) is None


class TestExposition:
    @pytest.mark.parametrize("snapshot", [everything(), nothing()], ids=["everything", "nothing"])
    def test_strict_parser_accepts_openmetrics(self, snapshot):
        text, content_type = render_metrics(snapshot, OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        families = list(openmetrics.text_string_to_metric_families(text.decode()))
        assert {"info", "counter", "gauge"} == {family.type for family in families}

    @pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain;version=0.0.4", "x" * 10_000, "q=;;,,"])
    def test_other_accept_headers_get_the_text_format(self, accept):
        assert render_metrics(everything(), accept)[1].startswith("text/plain; version=0.0.4")

    def test_program_names_are_escaped(self):
        strange = 'a"b\\c\nd'
        other = {**PROGRAM, "name": strange, "group": "x", "worker": None}
        assert scrape_with(programs=[other])("process_threads", program=strange, worker="") == 8


class TestReadFdLimit:
    def test_of_this_process(self):
        assert read_fd_limit(0) > 3

    def test_is_unknown_for_an_exited_process(self):
        assert read_fd_limit(2**22 + 1) is None


def test_cpu_utilization_is_relative_to_the_quota():
    (metric,) = (
        metric for metric in METRICS if metric.instrument and metric.instrument.name == "process.cpu.utilization"
    )
    found = everything()
    assert found.processors <= 1.5
    assert dict(metric.read(found))["model-server", "1"] == pytest.approx(0.125 / found.processors)
    without_quota = report(cgroup={**CGROUP, "cpu": {**CGROUP["cpu"], "quota_cores": None}})
    assert math.isfinite(build_snapshot(without_quota, lambda pid: None, lambda pids: []).processors)


def test_metrics_of_the_service_come_first():  # people read from the top
    assert METRICS[: len(SERVICE)] == SERVICE
