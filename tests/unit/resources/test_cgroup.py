from pathlib import Path

import pytest

from drum_supervisor.resources.cgroup import (
    Cgroup,
    Cpu,
    Memory,
    Pressure,
    Stall,
    read_cgroup,
    read_groups,
    read_oom_kills,
    read_working_set,
    working_set,
)
from drum_supervisor.resources.cgroup_paths import Groups, find_groups
from tests.unit.control_groups import MIB, NAMES, PID, lay_out

SHOWN = Path("sys/fs/cgroup")


@pytest.fixture
def recorded(tmp_path):
    return lambda name: lay_out(name, tmp_path)


class TestDockerV2:
    @pytest.fixture
    def read(self, recorded):
        return read_cgroup(PID, recorded("docker_v2"))

    def test_memory(self, read):
        memory = read.memory
        assert (memory.limit_bytes, memory.usage_bytes, memory.peak_bytes) == (512 * MIB, 300 * MIB, 512 * MIB)
        assert memory.working_set_bytes == 250 * MIB
        assert (memory.limit_hits, memory.ooms, memory.oom_kills) == (37, 2, 1)
        assert memory.limiting.limit_bytes == memory.limit_bytes

    def test_cpu(self, read):
        assert read.cpu == Cpu(1.5, 12.5, 1000, 250, 7.5, 0.1)

    def test_pressure(self, read):
        assert read.memory_pressure == Pressure(Stall(1.25, 0.5, 0.1, 2.5), Stall(1.0, 0.25, 0.05, 1.5))
        assert read.cpu_pressure.some == Stall(12.5, 7.0, 2.0, 90.0)
        assert read.io_pressure.full == Stall(0.0, 0.0, 0.0, 0.0005)


class TestKubernetesV2:
    @pytest.fixture
    def read(self, recorded):
        return read_cgroup(PID, recorded("kubernetes_v2_host"))

    def test_limit_is_the_pods_and_usage_the_containers(self, read):
        memory = read.memory
        assert (memory.limit_bytes, memory.usage_bytes, memory.peak_bytes) == (1024 * MIB, 700 * MIB, 720 * MIB)
        assert memory.working_set_bytes == 600 * MIB

    def test_limiting_pod_has_its_own_usage(self, read):
        limiting = read.memory.limiting
        assert limiting.directory.name.startswith("kubepods-burstable-pod")
        assert (limiting.usage_bytes, limiting.peak_bytes, limiting.ooms) == (1000 * MIB, 1024 * MIB, 3)

    def test_kills_of_neighbours_do_not_count(self, read):
        assert (read.memory.ooms, read.memory.oom_kills) == (0, 1)

    def test_throttling_is_of_the_group_with_the_quota(self, read):
        assert read.cpu == Cpu(2.0, 60.0, 5000, 400, 30.0, 0.1)


class TestSystemdV2:
    @pytest.fixture
    def read(self, recorded):
        return read_cgroup(PID, recorded("systemd_v2_nested"))

    def test_lowest_limit_of_all_ancestors_counts(self, read):
        assert read.memory.limit_bytes == 768 * MIB
        assert read.memory.limiting.directory.name == "model-serving.slice"
        assert read.memory.limiting.ooms == 4
        assert read.cpu == Cpu(0.5, 3.0, 600, 60, 3.0, 0.1)

    def test_old_kernel_has_no_peak_and_no_pressure(self, read):
        assert read.memory.peak_bytes is None
        assert read.memory_pressure == read.cpu_pressure == read.io_pressure == Pressure()

    def test_working_set_is_never_below_0(self, read):
        assert read.memory.working_set_bytes == 0


def test_hybrid_host_reads_each_controller_in_its_version(recorded):
    root = recorded("hybrid")
    groups, read = find_groups(PID, root), read_cgroup(PID, root)
    assert (groups.memory.version, groups.cpu.version, groups.unified.version) == (1, 1, 2)
    assert (read.memory.limit_bytes, read.memory.usage_bytes, read.memory.peak_bytes) == (
        256 * MIB,
        200 * MIB,
        256 * MIB,
    )
    assert (read.memory.limit_hits, read.memory.ooms, read.memory.oom_kills) == (None, None, 1)
    assert read.memory.working_set_bytes == 170 * MIB
    assert read.cpu == Cpu(0.5, 2.5, 40, 10, 1.5, 0.05)
    assert read.memory_pressure.some == Stall(1.25, 0.5, 0.1, 2.5)


def test_docker_v1(recorded):
    read = read_cgroup(PID, recorded("docker_v1"))
    assert (read.memory.usage_bytes, read.memory.working_set_bytes) == (300 * MIB, 260 * MIB)
    assert (read.memory.limit_hits, read.memory.oom_kills) == (None, 3)
    assert read.cpu == Cpu(2.0, 33.0, 800, 80, 4.0, 0.1)
    assert read.memory_pressure == Pressure()


def test_limit_of_an_invisible_ancestor_counts(recorded):
    memory = read_cgroup(PID, recorded("docker_v1")).memory
    assert memory.limit_bytes == 384 * MIB
    assert memory.limiting is None


def test_kubernetes_v1(recorded):
    read = read_cgroup(PID, recorded("kubernetes_v1_host"))
    assert (read.memory.limit_bytes, read.memory.usage_bytes, read.memory.peak_bytes) == (
        400 * MIB,
        350 * MIB,
        360 * MIB,
    )
    assert (read.memory.limiting.usage_bytes, read.memory.limiting.peak_bytes) == (390 * MIB, 400 * MIB)
    assert read.memory.oom_kills == 2
    assert read.cpu == Cpu(1.0, 7.0, 70, 7, 0.7, 0.1)


@pytest.mark.parametrize(
    ("name", "kills"),
    [
        ("docker_v2", 1),
        ("kubernetes_v2_host", 1),
        ("systemd_v2_nested", 2),
        ("hybrid", 1),
        ("docker_v1", 3),
        ("kubernetes_v1_host", 2),
    ],
)
def test_single_readings_match_the_whole(recorded, name, kills):
    root = recorded(name)
    groups, memory = find_groups(PID, root), read_cgroup(PID, root).memory
    assert read_oom_kills(groups) == kills == memory.oom_kills
    assert read_working_set(groups) == memory.working_set_bytes is not None


@pytest.mark.parametrize("name", ["docker_v2", "docker_v1"])
def test_groups_are_readable_after_the_death(recorded, name):
    root = recorded(name)
    groups, before = find_groups(PID, root), read_cgroup(PID, root)
    for file in (root / f"proc/{PID}").iterdir():
        file.unlink()
    assert read_cgroup(PID, root) == Cgroup()
    assert read_groups(groups) == before


# --- files that are not there, or make no sense

NONSENSE = [
    "",
    "\n",
    "-1\n",
    "-4096\n",
    "18446744073709551615\n",
    "18446744073709547520\n",
    "9223372036854771712\n",
    "max\n",
    "nan\n",
    "inf\n",
    "1e6\n",
    "0x10\n",
    "1_000\n",
    "٣\n",
    "1 2 3\n",
    "9" * 5000,
    "\0\0",
    "\udcff",
]


def overwrite(file, content):
    file.write_bytes(content.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("content", NONSENSE, ids=ascii)
def test_implausible_numbers_are_none(recorded, content):
    root = recorded("docker_v2")
    for name in ("memory.current", "memory.peak", "memory.max", "memory.stat", "memory.events", "cpu.max", "cpu.stat"):
        overwrite(root / SHOWN / name, content)
    read = read_cgroup(PID, root)
    assert (read.memory, read.cpu) == (Memory(), Cpu())


@pytest.mark.parametrize("content", NONSENSE, ids=ascii)
def test_implausible_numbers_of_version_1_are_none(recorded, content):
    root = recorded("docker_v1")
    for file in (*(root / SHOWN / "memory").iterdir(), *(root / SHOWN / "cpu,cpuacct").iterdir()):
        overwrite(file, content)
    read = read_cgroup(PID, root)
    assert (read.memory, read.cpu) == (Memory(), Cpu())


@pytest.mark.parametrize("value", ["-5", "18446744073709551615", "max", "1_0", "", "3.5"])
def test_implausible_table_lines_are_none(recorded, value):
    root = recorded("docker_v2")
    (root / SHOWN / "memory.stat").write_text(f"anon 1\ninactive_file {value}\n")
    (root / SHOWN / "memory.events").write_text(f"max {value}\noom {value}\noom_kill {value}\n")
    (root / SHOWN / "cpu.stat").write_text(f"usage_usec {value}\nnr_periods {value}\nthrottled_usec {value}\n")
    read = read_cgroup(PID, root)
    assert read.memory.working_set_bytes is None
    assert (read.memory.limit_hits, read.memory.ooms, read.memory.oom_kills) == (None, None, None)
    assert (read.cpu.usage_seconds, read.cpu.periods, read.cpu.throttled_seconds) == (None, None, None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "some",
        "some avg10=0.00",
        "some avg10=nan avg60=0.00 avg300=0.00 total=0",
        "some avg10=-1.00 avg60=0.00 avg300=0.00 total=0",
        "some avg10=100.5 avg60=0.00 avg300=0.00 total=0",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=x",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999",
    ],
)
def test_implausible_pressure_is_none(recorded, line):
    root = recorded("docker_v2")
    (root / SHOWN / "memory.pressure").write_text(f"{line}\n")
    assert read_cgroup(PID, root).memory_pressure == Pressure()


@pytest.mark.parametrize("name", NAMES)
def test_any_file_may_be_missing_or_a_directory(recorded, name):
    root = recorded(name)
    whole = read_cgroup(PID, root)
    groups = find_groups(PID, root)
    files = [file for group in (groups.memory, groups.cpu) for file in group.directory.iterdir()]
    for file in files:
        content = file.read_text()
        file.unlink()
        assert isinstance(read_cgroup(PID, root), Cgroup)
        file.mkdir()
        assert isinstance(read_cgroup(PID, root), Cgroup)
        file.rmdir()
        file.write_text(content)
    assert read_cgroup(PID, root) == whole


def test_unreadable_ancestor_makes_the_limit_unknown(recorded):
    root = recorded("systemd_v2_nested")
    (root / SHOWN / "model.slice/model-serving.slice/memory.max").write_text("garbage\n")
    (root / SHOWN / "model.slice/cpu.max").write_text("garbage\n")
    read = read_cgroup(PID, root)
    assert (read.memory.limit_bytes, read.memory.limiting, read.cpu.quota_cores) == (None, None, None)
    assert read.memory.usage_bytes is not None


def test_group_without_the_controller_is_charged_to_its_parent(recorded):
    root = recorded("systemd_v2_nested")
    service = root / SHOWN / "model.slice/model-serving.slice/drum.service"
    for file in service.glob("memory.*"):
        file.unlink()
    memory = read_cgroup(PID, root).memory
    assert (memory.limit_bytes, memory.usage_bytes, memory.oom_kills) == (768 * MIB, 700 * MIB, 2)


@pytest.mark.parametrize(
    ("usage", "inactive", "expected"), [(100, 30, 70), (30, 100, 0), (None, 5, None), (5, None, None), (0, 0, 0)]
)
def test_working_set(usage, inactive, expected):
    assert working_set(usage, inactive) == expected


def test_without_groups_everything_is_none(tmp_path):
    assert read_groups(Groups()) == Cgroup()
    assert read_oom_kills(Groups()) is None
    assert read_working_set(Groups()) is None
    assert read_cgroup(PID, tmp_path) == Cgroup()


def test_zero_values_are_not_none(recorded):
    root = recorded("docker_v2")
    (root / SHOWN / "cpu.stat").write_text("usage_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
    assert read_cgroup(PID, root).cpu == Cpu(1.5, 0.0, 0, 0, 0.0, 0.1)
