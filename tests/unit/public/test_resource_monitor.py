import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from drum_supervisor.contract.masking import MASK
from drum_supervisor.request_state import RequestState
from drum_supervisor.resource_monitor import ResourceMonitor
from drum_supervisor.resources.cgroup import Cgroup, read_cgroup
from tests.support import TIMEOUT

MIB = 1024 * 1024
WAITS = "import sys; print(flush=True); sys.stdin.read()"


@pytest.fixture
def start():
    """Return a function which starts a waiting Python process with arguments; the test ends with all killed."""
    started = []

    def start(*arguments, program=WAITS):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()  # it runs
        return process

    yield start
    for process in started:
        with process:  # closes its input, and waits
            pass


def pids(records):
    return [record["pid"] for record in records]


def test_processes_are_this_one_and_its_descendants(start):
    child = start()
    records = ResourceMonitor().collect_drum_info()
    assert pids(records)[0] == os.getpid()
    assert child.pid in pids(records)
    assert records[0].keys() == {"pid", "cmdline", "mem", "cpu_percent"}
    assert records[0]["cmdline"][0] == psutil.Process().cmdline()[0]
    assert records[0]["mem"] == pytest.approx(psutil.Process().memory_info().rss / MIB, rel=0.5)


def test_grandchildren_count(start):
    program = (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {WAITS!r}]); print(flush=True); "
        "sys.stdin.read(); child.wait()"
    )
    parent = start(program=program)
    assert len(ResourceMonitor(pid=parent.pid).collect_drum_info()) == 2


def test_another_process_may_be_the_root(start):
    child = start()
    assert pids(ResourceMonitor(pid=child.pid).collect_drum_info()) == [child.pid]


def test_monitor_current_process_overrides_the_pid(start):
    child = start()
    monitor = ResourceMonitor(monitor_current_process=True, pid=child.pid)
    assert pids(monitor.collect_drum_info())[0] == os.getpid()


def test_exited_process_is_left_out(start):
    child, monitor = start(), ResourceMonitor()
    assert child.pid in pids(monitor.collect_drum_info())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert child.pid not in pids(monitor.collect_drum_info())
    child.wait()
    assert child.pid not in pids(monitor.collect_drum_info())


def test_exited_root_leaves_nothing(start):
    child = start()
    monitor = ResourceMonitor(pid=child.pid)
    child.kill()
    child.wait()
    info = monitor.collect_resources_info()
    assert info["drum_info"] == []
    assert info["mem_info"]["drum_rss"] == 0


def test_memory_is_in_mebibytes(start):
    start()
    info = ResourceMonitor().collect_resources_info()
    memory = info["mem_info"]
    assert memory.keys() == {
        "total",
        "avail",
        "free",
        "drum_rss",
        "container_limit",
        "container_max_used",
        "container_used",
    }
    assert memory["total"] == psutil.virtual_memory().total / MIB
    assert 0 < memory["avail"] <= memory["total"]
    assert memory["drum_rss"] == pytest.approx(sum(record["mem"] for record in info["drum_info"]))
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_request_state_is_accepted():
    state = RequestState("id", "/stats", "GET")
    monitor = ResourceMonitor()
    assert monitor.collect_resources_info(state).keys() == {"mem_info", "drum_info"}
    assert pids(monitor.collect_drum_info(state))[0] == os.getpid()


def test_secrets_of_command_lines_are_masked(start):
    child = start("--password", "two words", "--token=abc123", "postgres://u:hunter2@db/x", "--password", "--rows", "7")
    record = ResourceMonitor(pid=child.pid).collect_drum_info()[0]
    assert record["cmdline"][3:] == [
        "--password",
        MASK,
        f"--token={MASK}",
        f"postgres://u:{MASK}@db/x",
        "--password",
        "--rows",
        "7",
    ]


# --- CPU


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def own_cpu_percent(monitor):
    return monitor.collect_drum_info()[0]["cpu_percent"]


def test_cpu_percent_is_since_the_previous_call(clock):
    monitor = ResourceMonitor(now=clock)
    own_cpu_percent(monitor)
    burn(0.2)
    clock.now += 1.0
    busy = own_cpu_percent(monitor)
    assert 18 <= busy < 60  # the kernel counts in hundredths of a second
    clock.now += 1000.0
    assert own_cpu_percent(monitor) < 1


def test_first_cpu_percent_is_since_the_start(start):
    child = start(program="import time\nwhile time.process_time() < 0.2: pass\n" + WAITS)
    assert 0 < ResourceMonitor(pid=child.pid).collect_drum_info()[0]["cpu_percent"] <= 110


def test_cpu_percent_is_kept_for_very_short_intervals(clock):
    monitor = ResourceMonitor(now=clock)
    own_cpu_percent(monitor)
    burn(0.1)
    clock.now += 0.5
    before = own_cpu_percent(monitor)
    burn(0.05)
    clock.now += 0.01
    assert own_cpu_percent(monitor) == before


def test_closed_monitor_starts_afresh(clock):
    monitor = ResourceMonitor(now=clock)
    own_cpu_percent(monitor)
    monitor.close()
    monitor.close()
    clock.now += 0.01
    assert own_cpu_percent(monitor) > 0  # of the whole life, not of a hundredth of a second


# --- control groups


MOUNTS = "31 22 0:28 / /cgroup rw - cgroup2 cgroup2 rw\n32 22 0:29 / /cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.fixture
def container(tmp_path):
    """Return a function which writes files of the kernel and returns the container's values."""

    def container(own, files):
        process = tmp_path / "proc" / str(os.getpid())
        files = {f"cgroup/{name}": content for name, content in files.items()}
        files[f"{process}/cgroup"] = own.rstrip("\n")
        files[f"{process}/stat"] = Path("/proc/self/stat").read_text()
        files["proc/self/mountinfo"] = MOUNTS
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        memory = ResourceMonitor(root=tmp_path).collect_resources_info()["mem_info"]
        return [memory[f"container_{name}"] for name in ("limit", "used", "max_used")]

    return container


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes")
V2 = ("memory.max", "memory.current", "memory.peak")


def files(folder, names, *values):
    """Return the files of a group other than the machine's root."""
    return {f"{folder}/{name}": value for name, value in zip(names, values, strict=True)} | {
        f"{folder}/cgroup.events": ""
    }


def test_version_2(container):
    assert container("0::/\n", files(".", V2, 512 * MIB, 100 * MIB, 200 * MIB)) == [512, 100, 200]


def test_version_2_below_the_root(container):
    assert container("0::/app.slice/x\n", files("app.slice/x", V2, 512 * MIB, 100 * MIB, 200 * MIB)) == [512, 100, 200]


def test_version_2_with_the_hosts_path(container):
    assert container("0::/kubepods/pod1\n", files(".", V2, 512 * MIB, 100 * MIB, 200 * MIB)) == [512, 100, 200]


def test_version_2_without_a_limit_and_on_an_old_kernel(container):
    assert container("0::/\n", files(".", V2[:2], "max", 100 * MIB)) == [None, 100, None]


def test_version_1(container):
    own = "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n"
    assert container(own, files("memory", V1, 512 * MIB, 100 * MIB, 200 * MIB)) == [512, 100, 200]


def test_version_1_without_a_limit(container):
    own, machine = "4:memory:/\n", {"memory/release_agent": ""}
    assert container(own, files("memory", V1, 9223372036854771712, 100 * MIB, 200 * MIB) | machine) == [
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("own", ["", "nonsense\n", "0::/\n", "3:cpu:/\n"])
def test_without_control_groups_everything_is_none(container, own):
    assert container(own, {}) == [None, None, None]


def test_missing_files_are_no_error(tmp_path):
    monitor = ResourceMonitor(root=tmp_path)
    assert monitor.collect_resources_info()["mem_info"]["container_limit"] is None


def test_limit_of_an_ancestor_counts(container):
    above = files("pod", V2, 512 * MIB, 400 * MIB, 500 * MIB)
    assert container("0::/pod/c\n", above | files("pod/c", V2, "max", 100 * MIB, 200 * MIB)) == [512, 100, 200]


# --- snapshots


def test_snapshot_has_everything_about_a_process(start):
    child = start("--token", "abc123")
    snapshot = ResourceMonitor(pid=child.pid).snapshot()
    (process,) = snapshot.processes
    reference = psutil.Process(child.pid)
    assert (process.pid, process.parent_pid) == (child.pid, os.getpid())
    assert process.name == reference.name()
    assert process.command_line[-2:] == ("--token", MASK)
    assert process.state in ("running", "sleeping")
    assert 0 <= process.cpu_seconds <= sum(reference.cpu_times()[:2])
    assert process.rss_bytes == pytest.approx(reference.memory_info().rss, rel=0.1)
    assert (process.threads, process.descriptors) == (1, reference.num_fds())
    assert process.started_at == pytest.approx(time.time(), abs=TIMEOUT)
    assert snapshot.taken_at == pytest.approx(time.time(), abs=TIMEOUT)
    assert snapshot.cgroup.memory.limit_bytes == read_cgroup(child.pid).memory.limit_bytes


def test_zombie_uses_nothing(start):
    child = start()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (process,) = ResourceMonitor(pid=child.pid).snapshot().processes
    assert process.state == "zombie"
    assert (process.rss_bytes, process.pss_bytes, process.descriptors, process.command_line) == (0, 0, None, ())


def test_memory_shared_by_forked_processes_counts_once(start):
    program = (
        "import os, sys; kept = b'x' * (64 << 20)\n"
        "if os.fork(): print(flush=True); sys.stdin.read(); os.wait()\n"
        "else: sys.stdin.read()"
    )
    parent = start(program=program)
    snapshot = ResourceMonitor(pid=parent.pid).snapshot()
    assert len(snapshot.processes) == 2
    assert snapshot.counts_shared_once
    assert snapshot.rss_bytes > 128 * MIB
    assert 64 * MIB < snapshot.memory_bytes < 100 * MIB
    assert all(process.uss_bytes < 32 * MIB < process.pss_bytes for process in snapshot.processes)


def test_without_pss_the_sum_is_of_rss(start):
    child = start()
    snapshot = ResourceMonitor(pid=child.pid).snapshot(shared_memory=False)
    assert not snapshot.counts_shared_once
    assert snapshot.memory_bytes == snapshot.rss_bytes == snapshot.processes[0].rss_bytes > 0


def test_process_of_another_user_is_partly_none(start, as_nobody):
    if os.geteuid() != 0:
        pytest.skip("needs root, to have a process that others may not look into")
    child = start()

    def look():
        (process,) = ResourceMonitor(pid=child.pid).snapshot().processes
        return [process.pss_bytes, process.uss_bytes, process.rss_bytes > 0, process.descriptors]

    *memory, descriptors = as_nobody(look)
    assert memory == [None, None, True]
    assert descriptors in (None, psutil.Process(child.pid).num_fds())  # the kernel tells since Linux 6.2


def test_snapshot_of_an_exited_process_is_empty(start):
    child = start()
    child.kill()
    child.wait()
    snapshot = ResourceMonitor(pid=child.pid).snapshot()
    assert (snapshot.processes, snapshot.cgroup, snapshot.memory_bytes) == ((), Cgroup(), 0)


def test_processes_that_exit_while_read_are_left_out(start):
    program = "import subprocess, sys\nprint(flush=True)\nwhile True: subprocess.Popen(['true']).wait()"
    busy = start(program=program)
    monitor = ResourceMonitor(pid=busy.pid)
    try:
        found = [monitor.snapshot().processes for _ in range(200)]
    finally:
        busy.kill()
    assert all(processes[0].pid == busy.pid for processes in found)


def test_sums_are_of_all_processes(start):
    start()
    start()
    snapshot = ResourceMonitor().snapshot()
    assert len(snapshot.processes) >= 3
    assert snapshot.cpu_seconds == pytest.approx(sum(process.cpu_seconds for process in snapshot.processes))
    assert snapshot.cpu_percent == pytest.approx(sum(process.cpu_percent for process in snapshot.processes), abs=0.1)


def test_first_percentage_of_a_young_process_is_right(start):
    child = start(program="import time\nwhile time.process_time() < 0.3: pass\n" + WAITS)
    snapshot = ResourceMonitor(pid=child.pid).snapshot()
    (process,) = snapshot.processes
    lived = snapshot.taken_at - process.started_at
    assert process.cpu_percent == pytest.approx(100 * process.cpu_seconds / lived, rel=0.3)


def test_started_at_is_constant(start):
    monitor = ResourceMonitor(pid=start().pid)
    assert len({monitor.snapshot().processes[0].started_at for _ in range(5)}) == 1


def test_kernel_without_children_files_uses_psutil(start, tmp_path):
    child = start()
    (tmp_path / f"proc/{os.getpid()}/task/{os.getpid()}").mkdir(parents=True)
    assert child.pid in pids(ResourceMonitor(root=tmp_path).collect_drum_info())
