"""One sample of trees of 1, 10, 100 and 1,000 processes, on a host with 5,000 others, compared with psutil.

A sample is what the supervisor reads for `stats`: memory, processor time and state of each process of the tree. psutil
only runs `children(recursive=True)`, which scans every process of the host. Rounds
without the others come first, because starting those takes long.
"""

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

import psutil

from bench.harness import OURS, Round, Table, Values, beats, within
from bench.places import Place
from drum_supervisor.resource_monitor import ResourceMonitor
from drum_supervisor.resources.process_reader import ProcessReader
from drum_supervisor.supervise.stats.scan import Detail, ScanTarget, scan

NAME = "resource_sample"
ROUNDS = 7  # without the others, and as many with them
SIZES = (1, 10, 100, 1000)
OTHERS = 5000
CALLS = 7  # of each in a round
SLEEP = ("sleep", "600")
BATCH = 250
WITHOUT = "without the others"
PSUTIL = "psutil, children()"


def a_tree_of(size: int) -> str:
    return f"a tree of {size:,}"


TABLES = (
    Table(
        "sample",
        f"One sample of a tree of 10 beside {OTHERS:,} other processes",
        "ms",
        (within(WITHOUT, 1.25), beats(PSUTIL)),
        floor=WITHOUT,
    ),
    Table(
        "linear",
        f"The same for each process of the tree, by size, beside {OTHERS:,} others",
        "us",
        (within(a_tree_of(10), 1.5, name=a_tree_of(1000)),),
        reference=a_tree_of(10),
        log=False,
    ),
)


def rounds(place: Place) -> Iterator[Round]:
    with ExitStack() as stack:
        samples = {size: sample_of(stack.enter_context(sleepers(size))) for size in SIZES}
        pid = stack.enter_context(sleepers(10))
        calls = {OURS: sample_of(pid), **others_of(pid)}
        alone = [timed(calls, samples) for _ in range(2 + ROUNDS)][2:]  # the first ones are warm-up
        for pid in stack.enter_context(processes(200 if place.brief else OTHERS)):
            _settled(pid)
        for before in alone:
            yield one_round(before, timed(calls, samples))


def one_round(before: Values, after: Values) -> Round:
    """Combine the measurements without and with the other processes."""
    found: dict[str, Values] = {
        OURS: {"sample": after[OURS]},
        WITHOUT: {"sample": before[OURS]},
        **{name: {"sample": after[name]} for name in after if not name.startswith("a tree of ") and name != OURS},
        f"{PSUTIL}, {WITHOUT}": {"sample": before[PSUTIL]},
    }
    return {**found, **{a_tree_of(size): {"linear": 1000 * after[a_tree_of(size)] / size} for size in SIZES}}


def timed(calls: Mapping[str, Callable[[], object]], samples: Mapping[int, Callable[[], object]]) -> Values:
    """Return the milliseconds of each call, a median over several; the calls take turns."""
    every = {**calls, **{a_tree_of(size): sample for size, sample in samples.items()}}
    times: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(CALLS):
        for name, call in every.items():
            began = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(found) for name, found in times.items()}


def sample_of(pid: int) -> Callable[[], object]:
    """Return the supervisor's sample, without its pauses."""
    reader = ProcessReader()

    def sample() -> None:
        for _ in scan(reader.read, [ScanTarget("model-server", pid, 0.0)], os.getpid(), time.monotonic(), Detail()):
            pass

    return sample


def others_of(pid: int) -> dict[str, Callable[[], object]]:
    monitor = ResourceMonitor(pid=pid)
    return {
        PSUTIL: lambda: psutil.Process(pid).children(recursive=True),
        "ResourceMonitor.collect_drum_info()": monitor.collect_drum_info,
        "ResourceMonitor.snapshot()": monitor.snapshot,
    }


TREE = """
import os, sys
for _ in range(int(sys.argv[1]) - 1):
    os.posix_spawnp("sleep", ("sleep", "600"), os.environ)
os.write(1, b"\\n")
sys.stdin.read()
"""


@contextmanager
def sleepers(size: int) -> Iterator[int]:
    """Run a tree of `size` processes; yield the pid of its root."""
    argv = [sys.executable, "-c", TREE, str(size)]
    with psutil.Popen(argv, stdin=-1, stdout=-1, start_new_session=True) as process:
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def processes(count: int) -> Iterator[list[int]]:
    """Run sleeping processes in batches, as many as requested or as the system allows."""
    pids: list[int] = []
    try:
        with suppress(BlockingIOError):
            for number in range(count):
                pids.append(os.posix_spawnp(SLEEP[0], SLEEP, {"PATH": os.defpath}))
                if number % BATCH == 0:
                    time.sleep(0.05)  # lets them reach their sleep
        if len(pids) < count:
            print(f"  The system allows only {len(pids)} of {count} others.", flush=True)
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def _settled(pid: int) -> None:
    """Wait until a process sleeps."""
    while psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
        time.sleep(0.001)
