"""How fast output passes through the supervisor, beside `cat`, and what the supervisor's loop is delayed meanwhile.

`python bench/output_delay.py [--megabytes 512] [--rounds 5] [--questions 200]`

Each round measures everything once, one after the other; printed are medians over the rounds. *Signal* is the time from
SIGUSR2 to the line about it, *status* a round trip on the control socket.
"""

import argparse
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from drum_supervisor.supervise.client import Client

LINE = "x" * 99
READY = json.dumps({"kind": "ready"})
SILENT = f"echo '{READY}' >&4; exec sleep 100000"
FLOOD = f"echo '{READY}' >&4; exec yes {LINE}"


def read_all(process: "subprocess.Popen[bytes]", megabytes: int) -> float:
    """Return the megabytes a second at which these were read from its stdout."""
    left = megabytes << 20
    began = 0.0
    while left > 0 and (data := os.read(process.stdout.fileno(), 1 << 16)):
        began = began or time.perf_counter()
        left -= len(data)
    return megabytes / (time.perf_counter() - began)


def through_cat(megabytes: int) -> float:
    with subprocess.Popen(["sh", "-c", f"yes {LINE} | cat"], stdout=subprocess.PIPE, start_new_session=True) as process:
        rate = read_all(process, megabytes)
        os.killpg(process.pid, signal.SIGKILL)
        return rate


def through_us(megabytes: int, *options: str) -> float:
    with supervised(FLOOD, *options) as (process, _):
        return read_all(process, megabytes)


@contextmanager
def supervised(script: str, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", Client]]:
    """Run a supervisor; its stdout and stderr are pipes to us."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["--address", "127.0.0.1:0", "--run-dir", f"{folder}/run", "--listener", "inherit", "--ready", "report"]
        argv = [sys.executable, "-m", "drum_supervisor", "start", *given, *options, "--", "sh", "-c", script]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            until_line(process, b"is ready after")
            yield process, Client(Path(folder, "run", "supervisor.sock"))
        finally:
            process.kill()
            process.communicate()


def until_line(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    while text not in (line := process.stderr.readline()):
        if not line:
            raise AssertionError(f"no {text!r}")


@contextmanager
def reading(process: "subprocess.Popen[bytes]", reads: bool) -> Iterator[None]:
    """Take its stdout meanwhile, or leave it until the pipe is full and stays so."""
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
    yield
    ended.set()
    if reads:
        thread.join()


def times_of(ask: Callable[[], object], questions: int) -> list[float]:
    times = []
    for _ in range(questions):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
        time.sleep(0.001)
    return times


def delays(script: str, reads: bool, questions: int) -> tuple[list[float], list[float]]:
    """Return the times of signals and of statuses."""
    with supervised(script) as (process, client), reading(process, reads):
        time.sleep(0.5)  # until a pipe that nobody reads is full

        def send() -> None:
            process.send_signal(signal.SIGUSR2)
            until_line(process, b"received SIGUSR2")

        return times_of(send, questions), times_of(client.status, questions)


def percentile(times: list[float], percent: float) -> float:
    return sorted(times)[min(int(len(times) * percent / 100), len(times) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    ways: dict[str, Callable[[], float]] = {
        "cat": lambda: through_cat(options.megabytes),
        "the supervisor": lambda: through_us(options.megabytes),
        "with --log-prefix": lambda: through_us(options.megabytes, "--log-prefix"),
    }
    loads = {"silent": (SILENT, True), "as fast as it can": (FLOOD, True), "and nobody reads": (FLOOD, False)}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, list[tuple[float, ...]]] = {load: [] for load in loads}
    for _ in range(options.rounds):
        for way, measure in ways.items():
            rates[way].append(measure())
        for load, (script, reads) in loads.items():
            signals, statuses = delays(script, reads, options.questions)
            found[load].append(tuple(percentile(t, p) for t in (signals, statuses) for p in (50, 99)))
    show_rates(rates)
    show_delays(found)


def show_rates(rates: dict[str, list[float]]) -> None:
    print(f"{'output through':20} {'MB/s':>7} {'to cat':>7}")
    for way, values in rates.items():
        ratio = statistics.median(values) / statistics.median(rates["cat"])
        print(f"{way:20} {statistics.median(values):7.0f} {ratio:7.2f}")


def show_delays(found: dict[str, list[tuple[float, ...]]]) -> None:
    print(f"\n{'the program writes':20} {'signal ms':>16} {'status ms':>16} {'status p50,':>12}")
    print(f"{'':20} {'p50':>8}{'p99':>8} {'p50':>8}{'p99':>8} {'to silent':>12}")
    medians = {load: [statistics.median(column) for column in zip(*rows, strict=True)] for load, rows in found.items()}
    for load, (signal50, signal99, status50, status99) in medians.items():
        columns = " ".join(
            f"{1000 * p50:8.2f}{1000 * p99:8.2f}" for p50, p99 in ((signal50, signal99), (status50, status99))
        )
        print(f"{load:20} {columns} {status50 / medians['silent'][2]:12.2f}")


if __name__ == "__main__":
    main()
