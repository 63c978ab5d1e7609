"""From what the supervisor answers to what Prometheus reads."""

import math
import re
import sys

import pytest
from prometheus_client.openmetrics import parser as openmetrics

from drum_supervisor import __version__
from drum_supervisor.contract.failure_report import Cause
from drum_supervisor.metrics.catalogue import CONTAINER, METRICS, SERVICE, Kind
from drum_supervisor.metrics.exposition import exposition
from drum_supervisor.metrics.figures import descriptor_limit, figures
from drum_supervisor.metrics.readings import PHASES
from drum_supervisor.supervise.policy.state import Phase
from tests.scrapes import OPENMETRICS, Scrape
from tests.unit.metric_figures import GPUS, PROCESS, PROGRAM, answer, everything, nothing
from tests.unit.metric_figures import SERVICE as SERVICE_RECORD
from tests.unit.stats_records import MIB, STOPPED

WORKER = {"program": "model-server", "worker": "1"}
GPU = {"gpu": "0", "uuid": "GPU-1", "model": "NVIDIA A100"}


def exposed(found=None) -> Scrape:
    return Scrape(exposition(found or everything(), "")[0].decode())


def of(**changes) -> Scrape:
    """Return what is exposed of an answer with other stats."""
    return exposed(figures(answer(**changes), lambda pid: 1024.0, lambda pids: GPUS))


def next_side(**changes):
    """Return the successor of worker 1, which is starting."""
    process = {**PROCESS, "pid": 4800, "started_at": PROCESS["started_at"] + 100}
    return {**PROGRAM, "name": "model-server-next", "pid": 4800, "ready": False, "processes": [process], **changes}


class TestNames:
    def test_every_metric_has_a_value_when_everything_is_known(self):
        names = {name for name, _ in exposed().series}
        assert {metric.name for metric in METRICS if metric.name} == names

    def test_they_follow_the_rules(self):
        for metric in METRICS:
            assert re.fullmatch(r"(drum_supervisor|process|container)_[a-z0-9_]+|", metric.name)
            assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER) or "gpu_memory_total" in metric.name
            assert metric.name.endswith("_info") == (metric.kind is Kind.INFO)
            assert metric.name or metric.sent_as
            assert metric.help.endswith(".")
        assert all(metric.name.startswith("container_") for metric in CONTAINER)

    def test_each_is_declared_once(self):
        for names in ([m.name for m in METRICS if m.name], [m.sent_as.name for m in METRICS if m.sent_as]):
            assert len(names) == len(set(names))

    def test_words_are_those_of_the_policy(self):
        assert list(PHASES) == [phase.value for phase in Phase]
        assert list(SERVICE_RECORD["failures"]) == [cause.value for cause in Cause]


class TestValues:
    def test_of_processes(self):
        seen = exposed()
        assert seen("process_cpu_seconds_total", **WORKER) == 7.0  # of all runs, not of this one
        assert seen("process_resident_memory_bytes", **WORKER) == 200 * MIB
        assert seen("process_virtual_memory_bytes", **WORKER) == 900 * MIB
        assert seen("process_open_fds", **WORKER) == 10
        assert seen("process_max_fds", **WORKER) == 1024
        assert seen("process_threads", **WORKER) == 8
        assert seen("process_start_time_seconds", **WORKER) == PROCESS["started_at"]
        assert seen("process_resident_memory_bytes", program="supervisor", worker="") == 30 * MIB

    def test_of_the_control_group(self):
        seen = exposed()
        assert seen("container_memory_usage_bytes") == 300 * MIB
        assert seen("container_memory_working_set_bytes") == 250 * MIB
        assert seen("container_memory_max_usage_bytes") == 350 * MIB
        assert seen("container_spec_memory_limit_bytes") == 400 * MIB
        assert seen("container_oom_events_total") == 2
        assert (seen("container_spec_cpu_quota"), seen("container_spec_cpu_period")) == (75_000, 50_000)
        assert seen("container_cpu_cfs_throttled_periods_total") == 250
        assert seen("container_pressure_memory_stalled_seconds_total") == 9.5

    def test_of_the_service(self):
        seen = exposed()
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

    def test_of_gpus_are_those_of_our_processes_for_each_program(self):
        seen = exposed()
        assert seen("drum_supervisor_gpu_memory_used_bytes", **GPU) == 10
        assert seen("drum_supervisor_gpu_utilization_ratio", **GPU) == pytest.approx(0.45)
        assert seen("drum_supervisor_program_gpu_memory_used_bytes", **WORKER, **GPU) == 5  # 4712 is not below it
        assert seen("drum_supervisor_program_gpu_utilization_ratio", **WORKER, **GPU) == pytest.approx(0.3)

    def test_what_nobody_knows_has_no_sample(self):
        seen = exposed(nothing())
        assert not {name for name in seen.names if name.startswith(("process_", "container_"))}
        assert seen("drum_supervisor_program_running", **WORKER) == 0
        assert seen("drum_supervisor_next_retry_timestamp_seconds") is None
        assert seen("drum_supervisor_out_of_memory_kills_total") == 0


class TestSides:
    def test_worker_and_its_successor_are_one(self):
        seen = of(programs=[PROGRAM, next_side()])
        assert seen("process_resident_memory_bytes", **WORKER) == 400 * MIB
        assert seen("process_cpu_seconds_total", **WORKER) == 7.0
        assert seen("process_start_time_seconds", **WORKER) == PROCESS["started_at"] + 100
        assert seen("drum_supervisor_program_ready", **WORKER) == 1

    def test_worker_that_stops_does_not_hide_its_successor(self):
        stopped = {**STOPPED, "name": "model-server-next"}
        assert of(programs=[PROGRAM, stopped])("process_resident_memory_bytes", **WORKER) == 200 * MIB

    def test_programs_of_the_user_have_their_own_names_and_nobody_knows_whether_they_are_ready(self):
        other = {**PROGRAM, "name": "proxy:proxy_1", "group": "proxy", "worker": None, "ready": None}
        seen = of(programs=[PROGRAM, other], totals=[{"program": "proxy:proxy_1", "worker": None, "cpu_seconds": 2.0}])
        labels = {"program": "proxy:proxy_1", "worker": ""}
        assert seen("process_cpu_seconds_total", **labels) == 2.0
        assert seen("drum_supervisor_program_running", **labels) == 1
        assert seen("drum_supervisor_program_ready", **labels) is None


class TestExposition:
    @pytest.mark.parametrize("found", [everything(), nothing()], ids=["everything", "nothing"])
    def test_openmetrics_is_what_its_strict_parser_takes(self, found):
        text, content_type = exposition(found, OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        families = list(openmetrics.text_string_to_metric_families(text.decode()))
        assert {"info", "counter", "gauge"} == {family.type for family in families}

    @pytest.mark.parametrize("accept", ["", "*/*", "text/html", "text/plain;version=0.0.4", "x" * 10_000, "q=;;,,"])
    def test_all_others_get_the_text_format(self, accept):
        assert exposition(everything(), accept)[1].startswith("text/plain; version=0.0.4")

    def test_names_of_the_users_programs_may_be_anything(self):
        strange = 'a"b\\c\nd'
        other = {**PROGRAM, "name": strange, "group": "x", "worker": None}
        assert of(programs=[other])("process_threads", program=strange, worker="") == 8


class TestDescriptorLimit:
    def test_of_this_process(self):
        assert descriptor_limit(0) > 3

    def test_of_one_that_is_gone(self):
        assert descriptor_limit(2**22 + 1) is None


def test_share_of_processors_is_of_those_that_may_be_used():
    (metric,) = (metric for metric in METRICS if metric.sent_as and metric.sent_as.name == "process.cpu.utilization")
    found = everything()
    assert found.processors <= 1.5
    assert dict(metric.read(found))["model-server", "1"] == pytest.approx(0.125 / found.processors)
    without_quota = answer()
    without_quota["stats"]["cgroup"]["cpu"]["quota_cores"] = None
    assert math.isfinite(figures(without_quota, lambda pid: None, lambda pids: []).processors)


def test_service_is_first():
    """People read it from the top."""
    assert METRICS[: len(SERVICE)] == SERVICE
