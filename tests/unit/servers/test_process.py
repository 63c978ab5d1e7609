"""Signals and the exit, in a child process."""

import signal
import subprocess
import sys

import pytest

from drum_supervisor.servers.process import drain_seconds

HEAD = """
import os, signal, sys, threading
from drum_supervisor.servers.process import Stopped, StopSignals
stop = StopSignals()
stop.install()
"""


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", HEAD + program], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_requests_second_kills(number):
    result = run(
        f"os.kill(os.getpid(), {number})\n"
        "print(stop.requested, stop.read_wakeup(), flush=True)\n"
        f"os.kill(os.getpid(), {number})\n"
        "print('never')\n"
    )
    assert result.stdout == "True True\n"
    assert result.returncode == 128 + number


def test_signal_in_another_thread_wakes_the_main_thread():
    result = run(
        "import select\n"
        "stopping = lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)\n"
        "threading.Thread(target=stopping).start()\n"
        "print(bool(select.select([stop], [], [], 10)[0]), stop.read_wakeup())\n"
    )
    assert result.stdout == "True True\n"


def test_other_signals_do_not_stop():
    result = run(
        "import select\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "print(bool(select.select([stop], [], [], 10)[0]), stop.read_wakeup())\n"
        "print(bool(select.select([stop], [], [], 0)[0]))\n"
    )
    assert result.stdout == "True False\nFalse\n"


def test_stop_raises_within_the_block():
    result = run(
        "try:\n"
        "    with stop.raise_on_stop():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "except Stopped:\n"
        "    stop.exit(0)\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_stop_before_the_block_is_not_lost():
    result = run(
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "try:\n"
        "    with stop.raise_on_stop():\n"
        "        print('never')\n"
        "except Stopped:\n"
        "    stop.exit(0)\n"
    )
    assert (result.returncode, result.stdout) == (0, "")


def test_swallowed_stop_ends_the_process():
    result = run(
        "with stop.raise_on_stop():\n"
        "    while True:\n"
        "        try:\n"
        "            os.kill(os.getpid(), 0 if stop.requested else signal.SIGTERM)\n"
        "            signal.pause()\n"
        "        except BaseException:\n"
        "            pass\n"
    )
    assert result.returncode == 0


def test_users_thread_does_not_delay_the_exit():
    result = run("threading.Thread(target=threading.Event().wait).start()\nstop.exit(5)\n")
    assert result.returncode == 5


def test_signal_during_exit_keeps_the_exit_code():
    result = run(
        "def interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    threading.Event().wait()\n"
        "threading.Thread(target=interrupt).start()\n"
        "stop.exit(3)\n"
    )
    assert result.returncode == 3


def test_handlers_are_restored_after_the_block():
    result = run(
        "from drum_supervisor.servers.process import STOP_SIGNALS, stop_signals, stop_signals_ignored\n"
        "before = [signal.getsignal(number) for number in STOP_SIGNALS]\n"
        "with stop_signals() as other:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(other.requested, stop.requested)\n"
        "with stop_signals_ignored():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(stop.requested)\n"
        "print(before == [signal.getsignal(number) for number in STOP_SIGNALS])\n"
    )
    assert result.stdout.split("\n") == ["True False", "False", "True", ""]
    assert result.returncode == 0


def test_other_threads_leave_signals_alone():
    result = run(
        "from drum_supervisor.servers.process import stop_signals, stop_signals_ignored\n"
        "def work():\n"
        "    with stop_signals() as other, stop_signals_ignored():\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(other.requested)\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()\n"
        "thread.join()\n"
        "print(stop.requested)\n"
    )
    assert result.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("stop_timeout", "finish", "drain"), [(25, 0, 23), (25, 6, 17), (4, 1, 2), (1, 0, 0.5), (0, 0, 0)]
)
def test_drain_seconds_leave_time_to_finish(stop_timeout, finish, drain):
    assert drain_seconds(stop_timeout, finish) == drain
