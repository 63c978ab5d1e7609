"""Metrics of a real supervisor, scraped as Prometheus does: in all phases, under attack, and sent over OTLP."""

import gzip
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from drum_supervisor.contract.exits import ExitCode
from tests.collector import collecting
from tests.scrapes import connect, get, metrics_address, scrape, scrape_openmetrics
from tests.stories.conftest import Start
from tests.support import Supervised

GOOD = "def score_unstructured(model, data, **kwargs): return 'fine'\ndef load_model(d): return 1\n"
GATED = """
def load_model(code_dir):
    with open({pipe!r}) as pipe:
        if pipe.read() == "fail":
            raise ValueError("no weights")
    return 1
def score_unstructured(model, data, **kwargs): return 'fine'
"""
UNSTRUCTURED = ("--target-type", "unstructured")
AT_ONCE = (
    ("--ready", "report", "--listener", "inherit"),
    ("sh", "-c", """echo '{"kind": "ready"}' >&4; exec sleep 600"""),
)
OFFERED = (*UNSTRUCTURED, "--metrics-address", "127.0.0.1:0")


def exporter_ready(supervised: Supervised) -> dict[str, object]:
    """Wait until the exporter is ready; return its entry in the status."""

    def found(status: dict[str, object]) -> list[dict[str, object]]:
        return [each for each in status["programs"] if each["name"] == "exporter" and each["state"] == "ready"]

    return found(supervised.until_status(found))[0]


def ready(supervised: Supervised) -> Supervised:
    supervised.until_phase("serving")
    exporter_ready(supervised)
    return supervised


@pytest.fixture
def serving(start: Start) -> Supervised:
    """A supervisor that is ready at once; its model server answers no requests."""
    return ready(start(*AT_ONCE[0], "--metrics-address", "127.0.0.1:0", "--", *AT_ONCE[1]))


@pytest.fixture
def built_in(start: Start, model: Callable[[str], Path]) -> Supervised:
    return ready(start("--code-dir", model(GOOD), *OFFERED))


class TestServing:
    def test_address_is_logged_and_metrics_match_stats(self, built_in: Supervised) -> None:
        serving = built_in
        assert f"metrics on http://{metrics_address(serving)}/metrics" in serving.err.read_text()
        seen = scrape(serving)
        stats = serving.stats()
        worker = next(each for each in stats["programs"] if each["name"] == "model-server")
        labels = {"program": "model-server", "worker": "1"}
        assert seen.phase == ["serving"]
        assert seen("drum_supervisor_ready") == 1
        assert seen("process_resident_memory_bytes", **labels) == pytest.approx(worker["rss_bytes"], rel=0.1)
        assert seen("process_open_fds", **labels) == worker["descriptors"]
        assert seen("process_max_fds", **labels) > 100
        assert seen("process_start_time_seconds", **labels) == worker["processes"][0]["started_at"]
        used = round(sum(psutil.Process(worker["pid"]).cpu_times()[:2]), 2)
        assert 0 < seen("process_cpu_seconds_total", **labels) <= used
        assert seen("process_resident_memory_bytes", program="supervisor", worker="") > 2**20
        assert seen("process_resident_memory_bytes", program="exporter", worker="") > 2**20
        assert 0 < seen("drum_supervisor_startup_duration_seconds", worker="1") < 60
        assert seen("drum_supervisor_workers_ready") == seen("drum_supervisor_workers") == 1

    def test_openmetrics_on_request(self, serving: Supervised) -> None:
        assert "text/plain; version=0.0.4" in get(serving).headers["content-type"]
        assert scrape_openmetrics(serving).phase == ["serving"]

    def test_gzip_on_request(self, serving: Supervised) -> None:
        packed = get(serving, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert b"drum_supervisor_ready 1.0" in gzip.decompress(packed.body)
        assert "content-encoding" not in get(serving).headers

    def test_other_paths_and_methods(self, serving: Supervised) -> None:
        assert get(serving, "/-/healthy").status == 200
        assert b'<a href="/metrics">' in get(serving, "/").body
        assert get(serving, "/nothing").status == 404
        assert get(serving, method="POST").status == 405
        head = get(serving, method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) > 1000

    def test_promtool_has_no_complaints(self, serving: Supervised) -> None:
        if not shutil.which("promtool"):
            pytest.skip("promtool is not installed (Debian: prometheus)")
        text = get(serving).body
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")

    def test_exporter_is_a_program_but_does_not_affect_readiness(self, serving: Supervised) -> None:
        table = serving.run("status").stdout
        assert re.search(r"^exporter +ready +\d+ ", table, re.MULTILINE)
        assert "1 of 1 workers ready" in table
        names = [each["name"] for each in json.loads(serving.run("stats", "--json").stdout)["programs"]]
        assert names == ["model-server", "exporter"]
        assert "exporter" in serving.run("ctl", "status").stdout
        assert serving.stop() == 0
        assert not serving.left()
        assert not (serving.run_dir / "metrics-address").exists()


class TestPhases:
    def test_each_is_exposed_and_transitions_are_counted(
        self, start: Start, model: Callable[[str], Path], fifo: Callable[[str], Path]
    ) -> None:
        pipe = fifo("go")
        supervised = start("--code-dir", model(GATED.format(pipe=str(pipe))), *OFFERED)
        exporter_ready(supervised)
        seen = scrape(supervised)
        assert (seen.phase, seen("drum_supervisor_ready"), seen("drum_supervisor_workers_starting")) == (
            ["starting"],
            0,
            1,
        )
        pipe.write_text("fail")
        supervised.until_status(lambda status: status["error_server_active"])
        seen = supervised.until(lambda: (now := scrape(supervised)).phase == ["failed"] and now)
        assert seen("drum_supervisor_error_server_active") == 1
        assert seen("drum_supervisor_failures_total", cause="init_failed") == 1
        assert seen("drum_supervisor_swaps_total", to="error-server") == 1
        assert seen("drum_supervisor_attempts_left") == 0
        assert seen("drum_supervisor_program_running", program="model-server", worker="1") == 0
        assert seen("process_resident_memory_bytes", program="model-server", worker="1") is None
        assert seen("process_cpu_seconds_total", program="model-server", worker="1") > 0
        assert seen("process_resident_memory_bytes", program="error-server", worker="") > 2**20
        supervised.client.restart()
        supervised.until_phase("retrying")
        supervised.until(lambda: scrape(supervised).phase == ["retrying"])
        pipe.write_text("load")
        supervised.until_phase("serving")
        seen = supervised.until(lambda: (now := scrape(supervised)).phase == ["serving"] and now)
        assert seen("drum_supervisor_swaps_total", to="model-server") == 1
        assert seen("drum_supervisor_restarts_total", cause="request") == 1
        assert supervised.get("/ping").json() == {"message": "OK"}
        assert supervised.stop() == 0

    def test_next_retry_is_exposed(self, start: Start, model: Callable[[str], Path]) -> None:
        never = GOOD.replace("return 1", "raise ValueError('no weights')")
        supervised = start("--code-dir", model(never), *OFFERED, "--max-retries", 3, "--retry-interval", 600)
        supervised.until_phase("failed")
        seen = supervised.until(lambda: (now := scrape(supervised)).phase == ["failed"] and now)
        assert seen("drum_supervisor_attempts_left") == 3
        after = seen("drum_supervisor_next_retry_timestamp_seconds") - seen("drum_supervisor_phase_start_time_seconds")
        assert 500 < after < 700

    def test_counters_never_fall_across_restarts_and_crashes(self, built_in: Supervised) -> None:
        serving = built_in
        before = scrape(serving).counters()
        pids = {serving.pid()}
        for act in (
            lambda: serving.run("restart"),
            lambda: serving.run("restart", "--overlap", "--force"),
            lambda: os.kill(serving.pid(), signal.SIGKILL),
        ):
            act()
            status = serving.until_status(lambda s: s["phase"] == "serving" and serving.pid() not in pids)
            pids.add(next(each["pid"] for each in status["programs"] if each["name"] == "model-server"))
            serving.until(lambda: scrape(serving)("drum_supervisor_ready") == 1)
            after = scrape(serving).counters()
            assert {key: (before[key], after.get(key, -1)) for key in before if after.get(key, -1) < before[key]} == {}
            before = after
        labels = {"program": "model-server", "worker": "1"}
        used = scrape(serving)("process_cpu_seconds_total", **labels)
        assert used > 2 * sum(psutil.Process(serving.pid()).cpu_times()[:2])  # the sum of four runs


class TestExporterDies:
    def test_scrapes_wait_for_its_restart(self, serving: Supervised) -> None:
        before = scrape(serving)
        pid, worker = exporter_ready(serving)["pid"], serving.pid()
        os.kill(pid, signal.SIGKILL)
        after = scrape(serving)  # waits in the backlog
        assert after("process_start_time_seconds", program="exporter", worker="") > before(
            "process_start_time_seconds", program="exporter", worker=""
        )
        assert after("process_cpu_seconds_total", program="exporter", worker="") > before(
            "process_cpu_seconds_total", program="exporter", worker=""
        )
        status = serving.status()
        assert (status["phase"], serving.pid()) == ("serving", worker)
        assert status["restarts"] == dict.fromkeys(status["restarts"], 0)
        assert f"exporter (pid {pid}) was killed by SIGKILL; restarting it in 1 s" in serving.err.read_text()

    def test_stop_does_not_wait_for_its_restart(self, serving: Supervised) -> None:
        pid = exporter_ready(serving)["pid"]
        os.kill(pid, signal.SIGKILL)
        serving.until_status(lambda status: all(each["pid"] != pid for each in status["programs"]))
        assert serving.stop() == 0
        assert serving.err.read_text().count("exporter (pid") == 2  # started, and killed


def test_frozen_supervisor_is_a_503_with_a_reason(serving: Supervised) -> None:
    serving.process.send_signal(signal.SIGSTOP)
    try:
        answer = serving.until(lambda: (now := get(serving)).status == 503 and now)
    finally:
        serving.process.send_signal(signal.SIGCONT)
    assert answer.body == b"The supervisor did not answer within 3 s.\n"
    assert serving.until(lambda: get(serving).status == 200)


class TestAddress:
    def refused(self, start: Start, *arguments: object, **environ: str) -> tuple[int, list[str]]:
        supervised = start(*arguments, "--", "true", "{fd}", **environ)
        return supervised.wait(), supervised.err.read_text().splitlines()

    def test_in_use_is_refused(self, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            code, lines = self.refused(start, "--metrics-address", address)
        assert code == ExitCode.ADDRESS
        assert lines == [
            f"drum-supervise: Address {address} is in use by another process: "
            "stop it, or choose another --metrics-address."
        ]

    @pytest.mark.parametrize("address", ["9100", "127.0.0.1:x", "on"])
    def test_malformed_is_refused(self, start: Start, address: str) -> None:
        code, (line,) = self.refused(start, "--metrics-address", address)
        assert code == ExitCode.USAGE
        assert line.startswith(f"drum-supervise: --metrics-address: Address '{address}' is not HOST:PORT")

    def test_without_prometheus_client_is_refused(self, start: Start, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['prometheus_client'] = None\n")
        code, (line,) = self.refused(start, "--metrics-address", "127.0.0.1:0", PYTHONPATH=f"{tmp_path}:{os.getcwd()}")
        assert code == ExitCode.USAGE
        assert line == (
            "drum-supervise: --metrics-address 127.0.0.1:0: metrics need prometheus_client, which is not installed: "
            "pip install 'drum_supervisor[metrics]'."
        )

    @pytest.mark.parametrize("address", ["[::1]:0", "[::]:0", "unix"])
    def test_can_be_ipv6_or_a_unix_socket(self, start: Start, tmp_path: Path, address: str) -> None:
        path = tmp_path / "metrics.sock"
        address = f"unix:{path}" if address == "unix" else address
        supervised = start(*AT_ONCE[0], "--metrics-address", address, "--", *AT_ONCE[1])
        assert scrape(supervised).phase in (["starting"], ["serving"])
        supervised.until_phase("serving")
        assert supervised.stop() == 0
        assert not path.exists()

    def test_error_server_can_bind_while_the_exporter_runs(self, start: Start, reserved_port: int) -> None:
        supervised = start(
            "--address", f"127.0.0.1:{reserved_port}", "--metrics-address", "127.0.0.1:0", "--", "sh", "-c", "exit 7"
        )
        supervised.until_status(lambda status: status["error_server_active"])
        supervised.until(lambda: scrape(supervised)("drum_supervisor_error_server_active") == 1)
        assert supervised.get("/x").status == 513
        assert supervised.stop() == 0

    def test_check_does_not_bind_it(self, start: Start, model: Callable[[str], Path]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            environ = {**os.environ, "DRUM_SUPERVISOR_METRICS_ADDRESS": address}
            argv = ["check", "--code-dir", str(model(GOOD)), *UNSTRUCTURED]
            checked = subprocess.run(
                [sys.executable, "-m", "drum_supervisor", *argv],
                env=environ,
                capture_output=True,
                text=True,
                check=False,
            )
        assert (checked.returncode, checked.stdout[:11]) == (0, "Ready after"), checked.stderr


class TestHostileClients:
    @pytest.fixture
    def victim(self, serving: Supervised):
        process = psutil.Process(exporter_ready(serving)["pid"])
        scrape(serving)
        before = process.memory_info().rss
        yield serving
        assert scrape(serving).phase == ["serving"]
        assert exporter_ready(serving)["pid"] == process.pid
        assert process.memory_info().rss < before + 16 * 2**20
        assert serving.status()["phase"] == "serving"

    def test_hundred_silent_connections(self, victim: Supervised) -> None:
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connect(victim))
            assert scrape(victim).phase == ["serving"]

    def test_endless_head(self, victim: Supervised) -> None:
        with connect(victim) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
            assert sock.recv(100).split()[1] == b"431"

    def test_unwanted_body(self, victim: Supervised) -> None:
        with connect(victim) as sock:
            sock.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
            assert sock.recv(100).split()[1] == b"405"  # after waiting a second for the body

    def test_slow_readers(self, victim: Supervised) -> None:
        with ExitStack() as stack:
            for _ in range(20):
                sock = stack.enter_context(connect(victim))
                sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")  # and never reads
            assert scrape(victim).phase == ["serving"]

    def test_constant_scraping_costs_the_supervisor_nothing(self, victim: Supervised) -> None:
        scrapes = 200
        before = victim.stats()["supervisor"]["cpu_seconds"]
        for _ in range(scrapes):
            scrape(victim)
        assert victim.stats()["supervisor"]["cpu_seconds"] - before < scrapes * 0.001


NVML = """
import os
from types import SimpleNamespace
class NVMLError(Exception): pass
class NVMLLibraryMismatchError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): print("shut down", flush=True)
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return "GPU-1"
def nvmlDeviceGetName(handle): return "NVIDIA A100"
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(total=40, used=10, free=30)
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=45, memory=20)
def nvmlDeviceGetGraphicsRunningProcesses(handle): return []
def nvmlDeviceGetProcessUtilization(handle, since): raise NVMLError
def nvmlDeviceGetComputeRunningProcesses(handle):
    with open("/proc/%d/task/%d/children" % (os.getppid(), os.getppid())) as children:
        return [SimpleNamespace(pid=int(pid), usedGpuMemory=7) for pid in children.read().split()]
"""


def test_exporter_reads_gpus(start: Start, tmp_path: Path) -> None:
    # a fake NVML library, on which each program uses a GPU: test machines have none
    (tmp_path / "pynvml.py").write_text(NVML)
    supervised = ready(
        start(
            *AT_ONCE[0], "--metrics-address", "127.0.0.1:0", "--", *AT_ONCE[1], PYTHONPATH=f"{tmp_path}:{os.getcwd()}"
        )
    )
    gpu = {"gpu": "0", "uuid": "GPU-1", "model": "NVIDIA A100"}
    seen = scrape(supervised)
    assert seen("drum_supervisor_gpu_memory_total_bytes", **gpu) == 40
    assert seen("drum_supervisor_gpu_utilization_ratio", **gpu) == pytest.approx(0.45)
    assert seen("drum_supervisor_program_gpu_memory_used_bytes", program="model-server", worker="1", **gpu) == 7
    assert "drum_supervisor_program_gpu_utilization_ratio" not in seen.names
    assert supervised.stop() == 0
    assert "shut down" in supervised.out.read_text()


class TestSending:
    def test_metrics_have_their_conventional_names(self, start: Start) -> None:
        with collecting() as collector:
            environ = {**collector.environ, "OTEL_METRIC_EXPORT_INTERVAL": "100"}
            supervised = start(*AT_ONCE[0], "--", *AT_ONCE[1], **environ)
            supervised.until_phase("serving")

            def sent() -> dict[str, object]:
                exports = [
                    found
                    for found in map(collector.metrics_of, collector.messages("/v1/metrics"))
                    if "process.cpu.time" in found
                ]
                return exports[-1] if exports else {}

            found = supervised.until(sent)
            assert exporter_ready(supervised)
            assert not (supervised.run_dir / "metrics-address").exists()
            points = found["process.memory.usage"].sum.data_points
            programs = {
                attribute.value.string_value
                for point in points
                for attribute in point.attributes
                if attribute.key == "drum.program"
            }
            assert {"supervisor", "exporter"} <= programs
            assert found["process.cpu.time"].sum.is_monotonic
            assert found["process.cpu.time"].unit == "s"
            assert supervised.stop() == 0

    def test_unreachable_collector_blocks_nothing(self, start: Start) -> None:
        unreachable = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1/v1/metrics"}
        supervised = start(*AT_ONCE[0], "--metrics-address", "127.0.0.1:0", "--", *AT_ONCE[1], **unreachable)
        supervised.until_phase("serving")
        assert scrape(supervised).phase == ["serving"]
        assert supervised.stop() == 0

    def test_exporter_none_sends_nothing(self, start: Start) -> None:
        environ = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "none"}
        supervised = start(*AT_ONCE[0], "--", *AT_ONCE[1], **environ)
        supervised.until_phase("serving")
        assert "exporter" not in {each["name"] for each in supervised.status()["programs"]}
