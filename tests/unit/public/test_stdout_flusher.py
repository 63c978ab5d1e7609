import io
import math
import queue
import select
import subprocess
import sys
import threading

import pytest

from drum_supervisor.stdout_flusher import LONGEST_POSTPONEMENT, StdoutFlusher
from tests.support import TIMEOUT, until


class Clock:
    """Advances only on request; counts its readings."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


class Stream:
    """Signals each flush."""

    def __init__(self) -> None:
        self.flushes: queue.Queue[threading.Thread] = queue.Queue()

    def flush(self) -> None:
        self.flushes.put(threading.current_thread())

    def wait(self) -> threading.Thread:
        return self.flushes.get(timeout=TIMEOUT)

    def count(self) -> int:
        return self.flushes.qsize()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def flusher(stream):
    """A flusher with a very short quiet period."""
    flusher = StdoutFlusher(0.01, stream=lambda: stream)
    yield flusher
    flusher.stop()


# --- when it is time


def test_no_activity_means_no_flush(clock):
    assert StdoutFlusher(1.0, now=clock).seconds_left() == math.inf


def test_flush_is_due_after_the_quiet_period(clock):
    flusher = StdoutFlusher(1.0, now=clock)
    flusher.set_last_activity_time()
    assert flusher.seconds_left() == pytest.approx(1.0)
    clock.now += 0.75
    assert flusher.seconds_left() == pytest.approx(0.25)
    clock.now += 5
    assert flusher.seconds_left() == 0


def test_activity_postpones_the_flush(clock):
    flusher = StdoutFlusher(1.0, now=clock)
    flusher.set_last_activity_time()
    clock.now += 0.75
    flusher.set_last_activity_time()
    assert flusher.seconds_left() == pytest.approx(1.0)


def test_constant_activity_does_not_postpone_the_flush_for_ever(clock):
    flusher = StdoutFlusher(1.0, now=clock)
    began = clock.now
    while clock.now < began + LONGEST_POSTPONEMENT:
        flusher.set_last_activity_time()
        clock.now += 0.25
    assert flusher.seconds_left() == 0


# --- the thread


def test_flushes_once_after_activity(flusher, stream):
    flusher.start()
    flusher.set_last_activity_time()
    assert stream.wait().daemon
    assert flusher.seconds_left() == math.inf
    flusher.stop()
    assert stream.count() == 1  # the last flush of all, and none before


def test_flushes_again_after_activity(flusher, stream):
    flusher.start()
    for _ in range(3):
        flusher.set_last_activity_time()
        stream.wait()


def test_does_not_flush_during_activity(stream, clock):
    flusher = StdoutFlusher(0.01, stream=lambda: stream, now=clock)
    flusher.start()
    flusher.set_last_activity_time()
    until(lambda: clock.looks > 5)  # it has woken up, and gone to sleep again
    assert stream.count() == 0
    clock.now += 0.01
    stream.wait()
    flusher.stop()


def test_activity_before_the_start_counts(flusher, stream):
    flusher.set_last_activity_time()
    flusher.start()
    stream.wait()


def test_start_and_stop(flusher):
    assert not flusher.is_alive()
    flusher.start()
    assert flusher.is_alive()
    flusher.stop()
    assert not flusher.is_alive()


def test_starting_twice_starts_one_thread(flusher):
    flusher.start()
    before = threading.active_count()
    flusher.start()
    assert threading.active_count() == before


def test_can_be_started_again(flusher, stream):
    flusher.start()
    flusher.stop()
    stream.wait()
    flusher.start()
    assert flusher.is_alive()
    flusher.set_last_activity_time()
    stream.wait()


def test_stop_flushes_a_last_time_in_the_thread(stream):
    flusher = StdoutFlusher(3600, stream=lambda: stream)
    flusher.start()
    flusher.set_last_activity_time()
    flusher.stop()
    assert stream.wait() is not threading.current_thread()
    assert stream.count() == 0


def test_stop_without_a_thread_flushes_too(flusher, stream):
    flusher.stop()
    assert stream.wait() is threading.current_thread()


def test_stop_gives_up_on_a_blocked_pipe(caplog):
    read = threading.Event()

    class Full:
        def flush(self) -> None:
            assert read.wait(TIMEOUT)

    flusher = StdoutFlusher(3600, stream=Full)
    flusher.start()
    flusher.stop(timeout=0.01)
    assert caplog.messages == ["stdout could not be flushed within 0.01 seconds: nothing reads it."]
    read.set()
    until(lambda: not flusher.is_alive())


# --- what is flushed


def test_flushes_the_current_stdout(monkeypatch, stream):
    flusher = StdoutFlusher(0.01)
    flusher.start()
    monkeypatch.setattr(sys, "stdout", stream)
    flusher.set_last_activity_time()
    stream.wait()
    flusher.stop()


class Broken:
    def flush(self) -> None:
        raise BrokenPipeError


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("bad", [None, closed(), Broken(), "no file at all"], ids=["none", "closed", "pipe", "text"])
def test_survives_a_failing_flush(bad, stream):
    streams = iter([bad, stream, stream])
    flusher = StdoutFlusher(0.01, stream=lambda: next(streams))
    flusher.start()
    flusher.set_last_activity_time()
    until(lambda: flusher.seconds_left() == math.inf)
    flusher.set_last_activity_time()
    stream.wait()
    flusher.stop()


PRINTS_AND_WAITS = """
import sys
from drum_supervisor.stdout_flusher import StdoutFlusher
flusher = StdoutFlusher(0.01)
flusher.start()
print("scored")
flusher.set_last_activity_time()
sys.stdin.read()
"""


def test_print_reaches_a_pipe_of_a_running_process():
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS_AND_WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], TIMEOUT)
        assert readable, "nothing was flushed"
        assert process.stdout.readline() == "scored\n"
        process.stdin.close()
    assert process.returncode == 0
