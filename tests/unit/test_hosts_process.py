"""Signals and the way out, in a process of their own."""

import signal
import subprocess
import sys

import pytest

HEAD = """
import os, signal, sys, threading
from drum_supervisor.hosts.process import Stopped, StopSignals
stop = StopSignals()
stop.install()
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_asks_and_second_ends(number):
    result = run(
        f"os.kill(os.getpid(), {number})\n"
        "print(stop.requested, os.read(stop.fileno(), 10), flush=True)\n"
        f"os.kill(os.getpid(), {number})\n"
        "print('never')\n"
    )
    assert result.stdout == "True b'\\x00'\n"
    assert result.returncode == 128 + number


def test_stop_raises_where_it_ends_at_once():
    result = run(
        "try:\n"
        "    with stop.ending_at_once():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "except Stopped:\n"
        "    stop.leave(0)\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_stop_before_the_block_is_not_forgotten():
    result = run(
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "try:\n"
        "    with stop.ending_at_once():\n"
        "        print('never')\n"
        "except Stopped:\n"
        "    stop.leave(0)\n"
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_stop_that_is_swallowed_ends_the_process_all_the_same():
    result = run(
        "with stop.ending_at_once():\n"
        "    while True:\n"
        "        try:\n"
        "            os.kill(os.getpid(), 0 if stop.requested else signal.SIGTERM)\n"
        "            signal.pause()\n"
        "        except BaseException:\n"
        "            pass\n"
    )
    assert result.returncode == 0


def test_thread_of_the_user_does_not_hold_up_the_end():
    result = run("threading.Thread(target=threading.Event().wait).start()\nstop.leave(5)\n")
    assert result.returncode == 5


def test_signal_on_the_way_out_does_not_change_the_exit_code():
    result = run(
        "def interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=interrupt).start()\n"
        "stop.leave(3)\n"
    )
    assert result.returncode == 3
