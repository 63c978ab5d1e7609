"""Files of processes: those below one, what they share, how old they are."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from drum_supervisor.process_files import age, children, descendants, footprint

GONE = 2**22 + 1


def never(pid):
    raise AssertionError(f"all processes were asked for those below {pid}")


@pytest.fixture
def proc(tmp_path):
    """Return a function that lays out lists of children: `{(pid, thread): "1 2"}`."""

    def proc(lists):
        for (pid, thread), text in lists.items():
            folder = tmp_path / f"{pid}/task/{thread}"
            folder.mkdir(parents=True)
            (folder / "children").write_text(text)
        return tmp_path

    return proc


def test_descendants_are_those_of_all_threads_parents_first(proc):
    lists = {(1, 1): "2 3 ", (1, 11): "4 ", (2, 2): "5 ", (3, 3): "", (4, 4): "6 ", (5, 5): "", (6, 6): ""}
    found = descendants(1, never, proc(lists))
    assert sorted(found) == [2, 3, 4, 5, 6]
    assert sorted(found[:3]) == [2, 3, 4]


def test_descendant_that_is_gone_has_no_children(proc):
    assert descendants(1, never, proc({(1, 1): "2 3 ", (3, 3): "4 "})) == [2, 3, 4]


def test_circle_of_numbers_that_were_given_anew_ends(proc):
    assert descendants(1, never, proc({(1, 1): "2 ", (2, 2): "1 2 3 "})) == [2, 3]


def test_kernel_without_lists_of_children_asks_otherwise(tmp_path):
    (tmp_path / "7/task/7").mkdir(parents=True)
    assert descendants(7, lambda pid: [pid + 1], tmp_path) == [8]


def test_process_that_is_gone_has_nobody_below_it():
    assert descendants(GONE, never) == []
    assert children(GONE) == []


def test_children_of_this_process():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert process.pid in children(os.getpid())
        process.communicate(b"\n")
    assert process.pid not in children(os.getpid())


def test_footprint_of_this_process():
    memory = footprint(os.getpid())
    assert memory is not None
    assert 0 < memory.uss_bytes <= memory.pss_bytes <= psutil.Process().memory_info().rss * 1.1


@pytest.mark.parametrize(
    "text", ["", "garbage", "0-1 ---p 0 00:00 0 [rollup]\nPss: x kB\n", "head\nPss: 1 kB\n", "a\n\n"]
)
def test_footprint_that_makes_no_sense_is_not_passed_on(tmp_path, text):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/smaps_rollup").write_text(text)
    assert footprint(7, tmp_path) is None


def test_footprint_of_a_process_that_is_gone():
    assert footprint(GONE) is None


def test_age_is_exact_for_young_processes():
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lived = age(process.pid)
        process.communicate(b"\n")
    assert -0.02 <= lived <= time.monotonic() - began + 0.02


def test_age_of_a_process_that_is_gone(tmp_path):
    assert age(GONE) is None
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("garbage")
    assert age(7, tmp_path) is None
