"""What one collection of a small tree of processes costs, alone and on a host with thousands of others.

`python bench/resource_sample.py [--tree 10] [--others 5000] [--rounds 30]`

Measured are `ResourceMonitor.collect_drum_info`, `.snapshot()` with and without shared memory, the walk through the
tree alone, and psutil's `children(recursive=True)`, one after the other in each round, in milliseconds. First without
the others, then with; printed are medians and their ratio.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from drum_supervisor.process_files import descendants
from drum_supervisor.resource_monitor import ResourceMonitor

# The first starts the others, and all end with the standard input of the first.
TREE = """
import subprocess, sys
wait = "import sys; sys.stdin.read()"
others = [subprocess.Popen([sys.executable, "-c", wait]) for _ in range(int(sys.argv[1]))]
print(flush=True)
sys.stdin.read()
for other in others:
    other.wait()
"""
BATCH = 250
SLEEP = ("sleep", "600")


@contextmanager
def tree(size: int) -> Iterator[int]:
    """Run a tree of so many processes; yield the pid at the top."""
    command = [sys.executable, "-c", TREE, str(size - 1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.communicate()


@contextmanager
def others(count: int) -> Iterator[None]:
    """Run so many sleeping processes, or as many as the system lets us, in batches."""
    pids: list[int] = []
    try:
        with suppress(BlockingIOError):
            for number in range(count):
                pids.append(os.posix_spawnp(SLEEP[0], SLEEP, {"PATH": os.defpath}))
                if number % BATCH == 0:
                    time.sleep(0.05)  # lets them reach their sleep
        if len(pids) < count:
            print(f"The system allows only {len(pids)} of {count} others.", file=sys.stderr)
        time.sleep(1)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def measured(pid: int) -> dict[str, Callable[[], object]]:
    monitor = ResourceMonitor(pid=pid)
    return {
        "collect_drum_info()": monitor.collect_drum_info,
        "snapshot(shared_memory=False)": lambda: monitor.snapshot(shared_memory=False),
        "snapshot()": monitor.snapshot,
        "tree only": lambda: descendants(pid, lambda _: []),
        "psutil children(recursive=True)": lambda: psutil.Process(pid).children(recursive=True),
    }


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each call in milliseconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=int, default=10)
    parser.add_argument("--others", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with tree(options.tree) as pid:
        calls = measured(pid)
        medians(calls, 3)  # warms up
        idle = medians(calls, options.rounds)
        before = len(psutil.pids())
        with others(options.others):
            busy, after = medians(calls, options.rounds), len(psutil.pids())
    print(f"A tree of {options.tree}, on a host with {before} and with {after} processes; medians of {options.rounds}")
    print(f"{'':32}{before:>9,}{after:>9,}{'ratio':>8}{'of psutil':>11}")
    reference = busy["psutil children(recursive=True)"]
    for name in calls:
        ratio = busy[name] / idle[name]
        print(f"{name:32}{idle[name]:9.2f}{busy[name]:9.2f}{ratio:8.2f}{busy[name] / reference:11.2f}")


if __name__ == "__main__":
    main()
