import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drum_supervisor.resources.cgroup import read_cgroup, read_groups, read_oom_kills
from drum_supervisor.resources.cgroup_paths import find_groups
from tests.support import TIMEOUT, until
from tests.unit.control_groups import MIB, join, memory_hog, new_group, own_directory, own_unified_directory

LIMIT = 64


def set_limit(group, mebibytes):
    (group / "memory.limit_in_bytes").write_text(str(mebibytes * MIB))
    swap_too = group / "memory.memsw.limit_in_bytes"
    if swap_too.exists():
        swap_too.write_text(str(mebibytes * MIB))


@pytest.fixture
def memory_group():
    with new_group(own_directory("memory")) as group:
        yield group


def test_usage_peak_and_limit_are_of_the_childs_group(memory_group):
    set_limit(memory_group, LIMIT)
    with memory_hog(memory_group) as child:
        assert child.allocate(30)
        memory = read_cgroup(child.pid).memory
    assert memory.limit_bytes == LIMIT * MIB
    assert 30 * MIB <= memory.usage_bytes <= memory.peak_bytes <= LIMIT * MIB
    assert 30 * MIB <= memory.working_set_bytes <= memory.usage_bytes
    assert memory.oom_kills == 0
    assert memory.limiting.directory == memory_group


def test_without_a_limit_there_is_none(memory_group):
    if read_cgroup(os.getpid()).memory.limit_bytes is not None:
        pytest.skip("the group of the tests is limited itself")
    with memory_hog(memory_group) as child:
        memory = read_cgroup(child.pid).memory
    assert (memory.limit_bytes, memory.limiting) == (None, None)
    assert memory.usage_bytes is not None


def test_oom_kill_is_counted_after_the_death(memory_group):
    set_limit(memory_group, LIMIT)
    with memory_hog(memory_group) as child:
        groups = find_groups(child.pid)
        assert read_oom_kills(groups) == 0
        assert not child.allocate(2 * LIMIT)
        assert child.process.wait(TIMEOUT) == -signal.SIGKILL
    assert read_oom_kills(groups) == 1
    memory = read_groups(groups).memory
    assert memory.peak_bytes == pytest.approx(LIMIT * MIB, rel=0.1)
    assert memory.oom_kills == 1


def test_other_kill_is_not_counted(memory_group):
    with memory_hog(memory_group) as child:
        groups = find_groups(child.pid)
        child.process.kill()
        child.process.wait(TIMEOUT)
    assert read_oom_kills(groups) == 0


def test_kill_by_an_ancestors_limit_counts_in_the_victims_group(memory_group):
    with new_group(memory_group) as below, new_group(memory_group) as beside:
        set_limit(memory_group, LIMIT)
        with memory_hog(below) as child, memory_hog(beside) as neighbour:
            groups, others = find_groups(child.pid), find_groups(neighbour.pid)
            limiting = read_groups(groups).memory.limiting
            assert not child.allocate(2 * LIMIT)
            assert child.process.wait(TIMEOUT) == -signal.SIGKILL
        assert read_oom_kills(groups) == 1
        assert read_oom_kills(others) == 0
        memory = read_groups(groups).memory
    assert memory.limit_bytes == LIMIT * MIB
    assert limiting.directory == memory_group
    assert memory.limiting.peak_bytes == pytest.approx(LIMIT * MIB, rel=0.1)


def test_dead_process_has_no_groups(memory_group):
    with memory_hog(memory_group) as child:
        child.become_zombie()
        assert ":memory:/\n" in Path(f"/proc/{child.pid}/cgroup").read_text()
        assert find_groups(child.pid).memory is None
    assert find_groups(child.pid).memory is None


def test_removed_group_is_none():
    with new_group(own_directory("memory")) as group, memory_hog(group) as child:
        groups = find_groups(child.pid)
    assert read_oom_kills(groups) is None
    memory = read_groups(groups).memory
    assert (memory.limit_bytes, memory.usage_bytes, memory.peak_bytes) == (None, None, None)


IN_A_NAMESPACE = """
import ctypes, json, os, subprocess, sys
from drum_supervisor.resources.cgroup import read_cgroup

NEW_MOUNTS, NEW_CGROUPS = 0x20000, 0x2000000
print(flush=True)
sys.stdin.readline()
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(NEW_MOUNTS | NEW_CGROUPS):
    sys.exit(77)
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
old = read_cgroup(os.getpid()).memory.limit_bytes
subprocess.run(["mount", "-t", "cgroup", "-o", "memory", "none", sys.argv[1]], check=True)
new = read_cgroup(os.getpid()).memory
print(json.dumps([open("/proc/self/cgroup").read(), old, new.limit_bytes, new.usage_bytes]), flush=True)
sys.stdin.readline()
"""


def test_group_is_found_in_a_namespace(memory_group, tmp_path):
    set_limit(memory_group, LIMIT)
    command = [sys.executable, "-c", IN_A_NAMESPACE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        join(memory_group, process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            assert process.wait(TIMEOUT) == 77
            pytest.skip("may not make namespaces")
        path, old, new, usage = json.loads(line)
        outside = read_cgroup(process.pid).memory
        process.communicate("\n")
    assert ":memory:/\n" in path
    assert old is None  # mounts from before show groups above, by names that nobody inside can know
    assert new == LIMIT * MIB
    assert 0 < usage <= LIMIT * MIB
    assert outside.limit_bytes == LIMIT * MIB


def test_quota_and_throttling():
    with new_group(own_directory("cpu")) as group:
        (group / "cpu.cfs_period_us").write_text("10000")
        (group / "cpu.cfs_quota_us").write_text("2000")
        command = [sys.executable, "-c", "while True: pass"]
        process = subprocess.Popen(command)
        try:
            join(group, process.pid)
            groups = find_groups(process.pid)
            cpu = until(lambda: throttled(groups), process)
        finally:
            process.kill()
            process.wait()
    assert cpu.quota_cores == pytest.approx(0.2)
    assert 0 < cpu.throttled_periods <= cpu.periods
    assert cpu.throttled_seconds > 0


def throttled(groups):
    cpu = read_groups(groups).cpu
    return cpu if cpu.throttled_periods and cpu.throttled_seconds else None


def test_cpu_time_of_the_group():
    with new_group(own_directory("cpuacct")) as group:
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            join(group, process.pid)
            groups = find_groups(process.pid)
            assert until(lambda: read_groups(groups).cpu.usage_seconds, process) < time.monotonic()
        finally:
            process.kill()
            process.wait()


def test_pressure_of_version_2_beside_version_1():
    with new_group(own_unified_directory()) as group, memory_hog(group) as child:
        if not (group / "memory.pressure").exists():
            pytest.skip("this kernel measures no pressure")
        read = read_cgroup(child.pid)
    assert read.memory_pressure.some is not None
    assert read.memory_pressure.full is not None
    assert read.cpu_pressure.some is not None
    assert 0 <= read.cpu_pressure.some.avg10 <= 100
