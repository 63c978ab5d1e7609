"""Throughput of output through the supervisor, compared with `cat`, and the resulting delay of its loop.

*Signal* is the time from SIGUSR2 to its log line, *status* a round trip on the control socket: with a silent program,
with one that writes as fast as it can, and with one whose output is not read.
"""

import json
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from bench.children import LONGEST
from bench.harness import OURS, Round, Table, Values, at_most, percentile
from bench.places import Place
from bench.supervised import ANY_PORT, REPORTING, Supervised, supervised

NAME = "output"
ROUNDS = 0
CAT = "cat"
PREFIXED = "with --log-prefix"
SILENT, READ, UNREAD = "a silent program", "one that floods", "one that nobody reads"
MEGABYTES = 512
QUESTIONS = 200
LINE = "x" * 99
READY = json.dumps({"kind": "ready"})
FLOOD = f"echo '{READY}' >&4; exec yes {LINE}"
SCRIPTS = {SILENT: f"echo '{READY}' >&4; exec sleep 100000", READ: FLOOD, UNREAD: FLOOD}
SETTLED = 0.5  # seconds until an unread pipe is full
DELAYED = {READ: "while a program floods us", UNREAD: "while nobody reads that"}
TABLES = (
    Table("rate", "Output through the supervisor", "MB/s", floor=CAT, reference=CAT, log=False),
    Table(
        "signal",
        "From a signal to the line about it, p99",
        "ms",
        tuple(at_most(10, f"ms {DELAYED[who]}", name=who) for who in DELAYED),
        reference=SILENT,
    ),
    Table("status", "An answer on the control socket, p99", "ms", reference=SILENT),
)


def rounds(place: Place) -> Iterator[Round]:
    numbers = count()

    def folder() -> Path:
        return place.folder / f"output-{next(numbers)}"

    while True:
        found: dict[str, Values] = {
            CAT: {"rate": through_cat(place)},
            OURS: {"rate": through_us(place, folder())},
            PREFIXED: {"rate": through_us(place, folder(), "--log-prefix")},
        }
        yield {**found, **{who: delays(place, folder(), who) for who in SCRIPTS}}


def through_cat(place: Place) -> float:
    argv = ["sh", "-c", f"yes {LINE} | cat"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        rate = read_all(process, place)
        os.killpg(process.pid, signal.SIGKILL)
        return rate


def through_us(place: Place, folder: Path, *options: str) -> float:
    with flooding(place, folder, FLOOD, *options) as ours:
        return read_all(ours.process, place)


def read_all(process: "subprocess.Popen[bytes]", place: Place) -> float:
    """Return the megabytes per second that can be read from its stdout."""
    megabytes = MEGABYTES // 16 if place.brief else MEGABYTES
    left = megabytes << 20
    began = 0.0
    while left > 0 and (data := os.read(process.stdout.fileno(), 1 << 16)):
        began = began or time.perf_counter()
        left -= len(data)
    return megabytes / (time.perf_counter() - began)


@contextmanager
def flooding(place: Place, folder: Path, script: str, *options: str) -> Iterator[Supervised]:
    """Run a supervisor with that program; its stdout and stderr are pipes to the benchmark."""
    argv = (*ANY_PORT, *REPORTING, *options, "--", "sh", "-c", script)
    with supervised(place, folder, *argv, streams=subprocess.PIPE) as ours:
        try:
            until_line(ours.process, b"is ready after")
            yield ours
        finally:
            ours.process.stdout.close()
            ours.process.stderr.close()


def until_line(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    while text not in (line := process.stderr.readline()):
        if not line:
            raise TimeoutError(f"the supervisor did not say {text!r}")


def delays(place: Place, folder: Path, who: str) -> Values:
    """Return the 99th percentile of the delays of signals and of `status`."""
    questions = 10 if place.brief else QUESTIONS
    with flooding(place, folder, SCRIPTS[who]) as ours, reading(ours.process, reads=who != UNREAD):
        time.sleep(SETTLED)

        def send() -> None:
            ours.process.send_signal(signal.SIGUSR2)
            until_line(ours.process, b"received SIGUSR2")

        signals, statuses = times_of(send, questions), times_of(ours.client.status, questions)
        return {"signal": percentile(signals, 99), "status": percentile(statuses, 99)}


@contextmanager
def reading(process: "subprocess.Popen[bytes]", reads: bool) -> Iterator[None]:
    """Read its stdout meanwhile, or let the pipe fill up."""
    ended = threading.Event()

    def read() -> None:
        poller = select.poll()
        poller.register(process.stdout, select.POLLIN)
        while not ended.is_set():
            if poller.poll(100):
                os.read(process.stdout.fileno(), 1 << 16)

    thread = threading.Thread(target=read)
    if reads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if reads:
            thread.join(LONGEST)


def times_of(ask: Callable[[], object], questions: int) -> list[float]:
    times = []
    for _ in range(questions):
        began = time.perf_counter()
        ask()
        times.append(1000 * (time.perf_counter() - began))
        time.sleep(0.001)
    return times
