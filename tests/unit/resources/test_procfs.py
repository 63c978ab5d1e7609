import os
import subprocess
import sys
import time

import psutil
import pytest

from drum_supervisor.resources.procfs import (
    children,
    count_descriptors,
    descendants,
    full_name,
    read_command_line,
    read_footprint,
    read_stat,
    walk,
)

GONE = 2**22 + 1


def never(pid):
    raise AssertionError(f"the fallback was called for {pid}")


@pytest.fixture
def proc(tmp_path):
    """Return a function which writes lists of children: `{(pid, thread): "1 2"}`."""

    def proc(lists):
        for (pid, thread), text in lists.items():
            folder = tmp_path / f"{pid}/task/{thread}"
            folder.mkdir(parents=True)
            (folder / "children").write_text(text)
        return tmp_path

    return proc


def test_descendants_are_of_all_threads_parents_first(proc):
    lists = {(1, 1): "2 3 ", (1, 11): "4 ", (2, 2): "5 ", (3, 3): "", (4, 4): "6 ", (5, 5): "", (6, 6): ""}
    found = descendants(1, never, proc(lists))
    assert sorted(found) == [2, 3, 4, 5, 6]
    assert sorted(found[:3]) == [2, 3, 4]


def test_exited_descendant_has_no_children(proc):
    assert descendants(1, never, proc({(1, 1): "2 3 ", (3, 3): "4 "})) == [2, 3, 4]


def test_cycle_of_reused_pids_ends(proc):
    assert descendants(1, never, proc({(1, 1): "2 ", (2, 2): "1 2 3 "})) == [2, 3]


def test_kernel_without_children_files_uses_the_fallback(tmp_path):
    (tmp_path / "7/task/7").mkdir(parents=True)
    assert descendants(7, lambda pid: [pid + 1], tmp_path) == [8]


def test_exited_process_has_no_descendants():
    assert descendants(GONE, never) == []
    assert children(GONE) == []


def test_children_of_this_process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in children(os.getpid())
        process.communicate(b"\n")
    assert process.pid not in children(os.getpid())


def test_footprint_of_this_process():
    memory = read_footprint(os.getpid())
    assert memory is not None
    assert 0 < memory.uss_bytes <= memory.pss_bytes <= psutil.Process().memory_info().rss * 1.1


@pytest.mark.parametrize(
    "text", ["", "garbage", "0-1 ---p 0 00:00 0 [rollup]\nPss: x kB\n", "head\nPss: 1 kB\n", "a\n\n"]
)
def test_invalid_footprint_is_none(tmp_path, text):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/smaps_rollup").write_text(text)
    assert read_footprint(7, tmp_path) is None


def test_footprint_of_an_exited_process_is_none():
    assert read_footprint(GONE) is None


STAT = "7 (%s) %s 1 7 7 0 -1 4194560 1 2 3 4 150 50 300 25 20 0 5 0 4200 1000000 %s 184 1 1 0 0 0 0 0 1 2\n"


def stat_of(tmp_path, text):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_stat(7, tmp_path)


def test_stat_is_in_seconds_and_bytes(tmp_path):
    stat = stat_of(tmp_path, STAT % ("python", "S", 10))
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    assert (stat.name, stat.state, stat.parent_pid, stat.threads, stat.started) == ("python", "sleeping", 1, 5, 4200)
    assert (stat.cpu_seconds, stat.reaped_cpu_seconds) == (200 / ticks, 325 / ticks)
    assert (stat.rss_bytes, stat.virtual_bytes) == (10 * page, 1_000_000)


@pytest.mark.parametrize("name", ["a) R 1 (b", "", " ", "\n", "плохо"])
def test_name_may_be_anything(tmp_path, name):
    assert stat_of(tmp_path, STAT % (name, "R", 1)).name == name


def test_name_cut_within_a_character(tmp_path):
    assert (
        stat_of(tmp_path, (STAT % ("n", "R", 1)).encode().replace(b"(n)", b"(\xd0)")).name
        == "\N{REPLACEMENT CHARACTER}"
    )


@pytest.mark.parametrize(
    ("letter", "state"), [("R", "running"), ("D", "disk-sleep"), ("Z", "zombie"), ("I", "idle"), ("?", "unknown")]
)
def test_states_are_words(tmp_path, letter, state):
    assert stat_of(tmp_path, STAT % ("x", letter, 0)).state == state


@pytest.mark.parametrize("text", ["", "garbage", "7 (x) S 1 2 3", STAT % ("x", "S", "much")])
def test_invalid_stat_is_none(tmp_path, text):
    assert stat_of(tmp_path, text) is None


def test_stat_of_an_exited_process_is_none():
    assert read_stat(GONE) is None
    assert read_command_line(GONE) == b""
    assert count_descriptors(GONE) is None


def test_stat_agrees_with_psutil():
    stat, reference = read_stat(os.getpid()), psutil.Process()
    assert (stat.name, stat.parent_pid, stat.threads) == (reference.name()[:15], os.getppid(), reference.num_threads())
    assert stat.rss_bytes == pytest.approx(reference.memory_info().rss, rel=0.1)
    assert stat.virtual_bytes == pytest.approx(reference.memory_info().vms, rel=0.1)
    assert stat.cpu_seconds == pytest.approx(sum(reference.cpu_times()[:2]), abs=0.1)
    assert count_descriptors(os.getpid()) == reference.num_fds() - 1  # psutil has the folder open that it lists


def test_age_is_exact_for_young_processes():
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lived = read_stat(process.pid).age
        process.communicate(b"\n")
    assert -0.02 <= lived <= time.monotonic() - began + 0.02


def test_reaped_children_count_in_their_parents_time():
    before = read_stat(os.getpid()).reaped_cpu_seconds
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    # user and system time are each rounded down to hundredths, before and after
    assert 0.46 <= read_stat(os.getpid()).reaped_cpu_seconds - before < 5


@pytest.mark.parametrize(
    ("name", "command_line", "whole"),
    [
        ("short", ("/bin/shorter",), "short"),
        ("exactly-15-char", ("/bin/exactly-15-characters", "x"), "exactly-15-characters"),
        ("exactly-15-char", ("other",), "exactly-15-char"),
        ("exactly-15-char", (), "exactly-15-char"),
    ],
)
def test_truncated_name_is_completed_from_the_command_line(name, command_line, whole):
    assert full_name(name, command_line) == whole


def test_descriptors_are_counted_before_linux_6_2(tmp_path, monkeypatch):
    folder = tmp_path / "7/fd"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / str(number)).touch()
    # before Linux 6.2 the size of /proc/PID/fd is 0; that of another directory need not be
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((0,) * 10))
    assert count_descriptors(7, tmp_path) == 3


def test_walk_may_pause_after_each_thread(proc):
    lists = {(1, 1): "2 ", (1, 11): "", (2, 2): "3 ", (3, 3): ""}
    steps = list(walk(1, proc(lists)))
    assert [step for step in steps if step] == [1, 2, 3]
    assert steps.count(None) == len(lists)
