from pathlib import Path

import pytest

from drum_supervisor.resources.cgroup_paths import (
    Groups,
    Membership,
    Mount,
    below,
    find_groups,
    parse_memberships,
    parse_mounts,
)
from tests.unit.control_groups import PID

V1, V2 = frozenset({"rw", "memory"}), frozenset({"rw"})


def test_memberships():
    text = "12:cpu,cpuacct:/a\n4:memory:/with:colon\n1:name=systemd:/s\n0::/u\n"
    assert parse_memberships(text) == [
        Membership(frozenset({"cpu", "cpuacct"}), "/a"),
        Membership(frozenset({"memory"}), "/with:colon"),
        Membership(frozenset({"name=systemd"}), "/s"),
        Membership(frozenset(), "/u"),
    ]


@pytest.mark.parametrize("text", ["", "nonsense", "::", "0:/", "0::relative", "0::/gone (deleted)\n", "\0"])
def test_malformed_lines_are_no_memberships(text):
    assert parse_memberships(text) == []


def test_mounts_with_tags_and_escapes():
    text = (
        "30 23 0:26 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n"
        "31 23 0:27 /a\\040b /mnt/c\\134d rw - cgroup none rw,memory\n"
        "32 23 0:28 / / rw - ext4 /dev/sda rw\n"
        "garbage\n"
        "1 2 3 4 5 6 7 8\n"
    )
    assert parse_mounts(text) == [Mount("/", "/sys/fs/cgroup", 2, V2), Mount("/a b", "/mnt/c\\d", 1, V1)]


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/", "/", ""),
        ("/", "/a/b", "a/b"),
        ("/a", "/a", ""),
        ("/a", "/a/b", "b"),
        ("/a", "/ab", None),
        ("/a", "/", None),
        ("/a/b", "/a", None),
        ("/../..", "/", None),  # above the reader's namespace, whose own name nobody inside knows
        ("/..", "/../beside", "beside"),
        ("/", "/../beside", None),
    ],
)
def test_path_below_the_root_of_a_mount(root, path, expected):
    assert below(root, path) == expected


@pytest.fixture
def host(tmp_path):
    """Return a function which writes the files of a host and returns the memory group."""

    def host(cgroup, mountinfo, *files, stat="4242 (a) b) S 1 1 1 0 -1 4194560 0", folder="proc/self"):
        write(tmp_path / f"proc/{PID}/cgroup", cgroup)
        write(tmp_path / f"proc/{PID}/stat", stat)
        write(tmp_path / folder / "mountinfo", mountinfo)
        for file in files:
            write(tmp_path / file, "1")
        group = find_groups(PID, tmp_path).memory
        return None if group is None else str(group.directory.relative_to(tmp_path))

    return host


def write(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def v2(root="/", point="/c"):
    return f"30 23 0:26 {root} {point} rw - cgroup2 cgroup2 rw\n"


def v1(root="/", point="/m", options="rw,memory"):
    return f"31 23 0:27 {root} {point} rw - cgroup cgroup {options}\n"


def in_v2(folder):
    return f"{folder}/cgroup.events", f"{folder}/memory.current"


def test_group_below_the_mount(host):
    assert host("0::/a\n", v2(), *in_v2("c/a")) == "c/a"


def test_root_group_of_the_machine_is_no_group(host):
    assert host("0::/\n", v2(), "c/memory.current") is None
    assert host("4:memory:/\n", v1(), "m/release_agent") is None


def test_root_of_a_namespace_is_the_container(host):
    assert host("0::/\n", v2(), *in_v2("c")) == "c"
    assert host("4:memory:/\n", v1(), "m/tasks") == "m"


def test_mount_of_the_group_itself_with_the_hosts_path(host):
    assert host("4:memory:/docker/1\n", v1(root="/docker/1"), "m/tasks") == "m"


def test_hosts_path_with_a_mount_that_looks_like_the_root(host):
    assert host("4:memory:/docker/1\n", v1(), "m/tasks") == "m"
    assert host("0::/kubepods/1\n", v2(), *in_v2("c")) == "c"


def test_missing_path_is_not_the_machine_root(host):
    assert host("4:memory:/docker/1\n", v1(), "m/release_agent") is None
    assert host("0::/kubepods/1\n", v2(), "c/memory.current") is None


def test_mount_of_another_group_is_ignored(host):
    assert host("4:memory:/docker/1\n", v1(root="/docker/2"), "m/tasks") is None
    assert host("4:memory:/../2\n", v1(), "m/tasks") is None


def test_mount_with_most_ancestors_wins(host):
    table = v1(root="/docker/1", point="/bound") + v1() + v1(root="/docker", point="/other")
    assert host("4:memory:/docker/1\n", table, "bound/tasks", "m/docker/1/tasks", "other/1/tasks") == "m/docker/1"


def test_existing_group_wins_over_a_mount_that_looks_like_it(host):
    table = v1(point="/sandbox") + v1(root="/docker", point="/other")
    assert host("4:memory:/docker/1\n", table, "sandbox/tasks", "other/1/tasks") == "other/1"


def test_controller_mounted_with_others(host):
    assert host("4:hugetlb,memory:/a\n", v1(options="rw,hugetlb,memory"), "m/a/tasks") == "m/a"


def test_version_1_wins_when_it_has_the_controller(host):
    table = v1() + v2()
    assert host("4:memory:/a\n0::/a\n", table, "m/a/tasks", *in_v2("c/a")) == "m/a"
    assert host("4:pids:/a\n0::/a\n", table, "m/a/tasks", *in_v2("c/a")) == "c/a"


def test_version_2_without_a_memory_controller(host):
    assert host("0::/a\n", v2(), "c/a/cgroup.events") is None


def test_mount_point_with_blanks(host):
    assert host("4:memory:/a\n", v1(point="/my\\040groups"), "my groups/a/tasks") == "my groups/a"


@pytest.mark.parametrize("stat", ["", "nonsense", "4242 (x) Z 1 1 1 0 -1 4227084 0", "4242 (x) R 1 1 1 0 -1 4 0"])
def test_exiting_process_has_no_version_1_group(host, stat):
    assert host("4:memory:/\n", v1(), "m/tasks", stat=stat) is None


def test_exiting_process_keeps_its_version_2_group(host):
    assert host("0::/a\n", v2(), *in_v2("c/a"), stat="4242 (x) Z 1 1 1 0 -1 4227084 0") == "c/a"


def test_mounts_of_the_process_if_the_reader_has_none(host):
    files = in_v2(f"proc/{PID}/root/c/a")
    assert host("0::/a\n", v2(), *files, folder=f"proc/{PID}") == f"proc/{PID}/root/c/a"


def test_lineage_ends_at_the_mount(tmp_path):
    write(tmp_path / f"proc/{PID}/cgroup", "0::/a/b\n")
    write(tmp_path / "proc/self/mountinfo", v2())
    for file in in_v2("c/a/b"):
        write(tmp_path / file, "1")
    unified = find_groups(PID, tmp_path).unified
    assert unified.lineage == (tmp_path / "c/a/b", tmp_path / "c/a", tmp_path / "c")


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_missing_process_has_no_groups(pid):
    assert find_groups(pid) == Groups()


def test_process_of_this_machine_is_readable():
    assert isinstance(find_groups(1, Path("/")), Groups)
