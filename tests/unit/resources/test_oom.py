import math

import pytest

from drum_supervisor.resources.cgroup_paths import find_groups
from drum_supervisor.resources.oom import OomKill, OomKillCounters
from tests.unit.control_groups import MIB, NAMES, PID, lay_out


@pytest.mark.parametrize(
    ("found", "where"),
    [
        (OomKill(512 * MIB, 500 * MIB), " at 500.0 MiB of 512.0 MiB"),
        (OomKill(512 * MIB, None), " at 512.0 MiB"),
        (OomKill(None, 500 * MIB), ""),
        (OomKill(), ""),
    ],
)
def test_sentence_has_the_known_sizes(found, where):
    assert found.describe(3.24) == f"out of memory: killed by the kernel{where}, 3.2 s after start"
    assert found.clause == f"the kernel also killed a process, out of memory{where}"


class Recorded:
    """A recorded tree of control groups with a counter of kills, and a clock."""

    def __init__(self, name, root):
        self.now = 100.0
        self.root = lay_out(name, root)
        self.counters = OomKillCounters(lambda: self.now, self.root)
        group = find_groups(PID, self.root).memory
        self.file = group and group.directory / ("memory.events" if group.version == 2 else "memory.oom_control")

    def start(self):
        return self.counters.watch("server", PID)

    def find_last(self, within=math.inf):
        return self.counters.find_last("server", PID, within)

    def kill(self, times=1):
        lines = [line.split() for line in self.file.read_text().splitlines()]
        text = "".join(f"{name} {int(count) + times * (name == 'oom_kill')}\n" for name, count in lines)
        self.file.write_text(text)


@pytest.fixture
def recorded(tmp_path):
    return lambda name: Recorded(name, tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_no_kill_means_no_verdict(recorded, name):
    tree = recorded(name)
    tree.start()
    assert tree.find_last() is None
    assert (tree.counters.refresh(), tree.counters.latest) == (0, None)


@pytest.mark.parametrize("name", ["docker_v1", "docker_v2", "hybrid", "kubernetes_v2_host", "systemd_v2_nested"])
def test_kill_since_the_start_has_its_limit(recorded, name):
    tree = recorded(name)
    tree.start()
    tree.kill()
    found = tree.find_last()
    assert found is not None
    assert found.limit_bytes is not None


def test_kill_before_the_start_does_not_count(recorded):
    tree = recorded("docker_v2")
    tree.start()
    tree.kill()
    tree.start()
    assert tree.find_last() is None


def test_kill_belongs_to_one_run(recorded):
    tree = recorded("docker_v2")
    tree.start()
    tree.kill()
    assert tree.counters.find_last("server", PID + 1) is None
    assert tree.counters.find_last("other", PID) is None


def test_verdict_is_limited_to_recent_kills(recorded):
    tree = recorded("docker_v1")
    tree.start()
    tree.kill()
    tree.counters.refresh()
    tree.now += 30.0
    assert tree.find_last(within=30.0)
    assert tree.find_last(within=29.0) is None
    assert tree.find_last()


def test_programs_of_a_group_share_one_counter(recorded):
    tree = recorded("docker_v2")
    programs = ("one", "two", "three")
    assert len({tree.counters.watch(program, PID) for program in programs}) == 1
    tree.kill(2)
    assert tree.counters.refresh() == 2
    tree.now += 5.0
    tree.kill()
    assert all(tree.counters.find_last(program, PID) for program in programs)
    assert tree.counters.refresh() == 3
    assert tree.counters.latest.last_kill_at == 105.0


def test_temporarily_unreadable_file_changes_nothing(recorded):
    tree = recorded("docker_v2")
    tree.start()
    text = tree.file.read_text()
    tree.file.unlink()
    assert tree.find_last() is None
    tree.file.write_text(text)
    assert tree.find_last() is None
    tree.kill()
    assert tree.find_last()


def test_process_without_a_group_has_no_verdict(tmp_path):
    counters = OomKillCounters(lambda: 0.0, tmp_path)
    assert not counters.watch("server", PID).is_supported
    assert counters.find_last("server", PID) is None
