"""The cost of sampling: processor time, delay of signals, memory.

`python -m bench.sampling [--tree 1 --tree 1000] [--seconds 60] [--signals 300] [--source DIR]`

Each tree is one program with that many processes. Measured are the supervisor's processor time, from its
schedstat, without clients, and with a client that requests the history every second; and the delay of signals, alone
and during continuous sampling (the log says to the millisecond when a signal was received). `--source` is a folder
with another version of the package, for comparison; one without `stats` is only measured from outside.
"""

import argparse
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from bench.children import cpu_seconds, resident_mib
from bench.harness import percentile
from drum_supervisor.contract.control_client import ControlClient, ControlError
from drum_supervisor.contract.phase import Phase
from drum_supervisor.resources.stats import FullStats

TREE = """
import os, sys, time
for _ in range(int(sys.argv[1]) - 1):
    os.posix_spawnp("sleep", ("sleep", "1000000"), os.environ)
os.write(4, b'{"kind": "ready"}\\n')
time.sleep(1000000)
"""
RECEIVED = re.compile(r"^(\S+) INFO +drum-supervise: received SIGUSR2$", re.MULTILINE)


class Supervisor:
    def __init__(self, folder: Path, tree: int, *options: str, source: str = "") -> None:
        self.log = folder / "log"
        path = f"import sys; sys.path.insert(0, {source!r}); " if source else ""
        code = f"{path}from drum_supervisor.cli.main import main; import sys; sys.exit(main())"
        command = ["--ready", "report", "--listener", "inherit", "--", sys.executable, "-c", TREE, str(tree)]
        given = ["start", "--run-dir", str(folder / "run"), "--address", "127.0.0.1:0", *options, *command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([sys.executable, "-c", code, *given], stderr=log)
        self.client = ControlClient(folder / "run/supervisor.sock", timeout=60)
        while not self.is_serving():
            time.sleep(0.1)

    def is_serving(self) -> bool:
        try:
            return self.client.status().phase is Phase.SERVING
        except ControlError:
            return False

    def share(self, seconds: float) -> float:
        """Return the percentage of one processor that it uses."""
        used, began = cpu_seconds(self.process.pid), time.monotonic()
        time.sleep(seconds)
        return 100 * (cpu_seconds(self.process.pid) - used) / (time.monotonic() - began)

    def delays(self, count: int) -> list[float]:
        """Return the delays of the signals in milliseconds."""
        sent = []
        before = len(RECEIVED.findall(self.log.read_text()))
        for _ in range(count):
            size = self.log.stat().st_size
            sent.append(time.time())
            self.process.send_signal(signal.SIGUSR2)
            while self.log.stat().st_size == size:
                time.sleep(0.001)
            time.sleep(0.0137)
        received = RECEIVED.findall(self.log.read_text())[before:]
        moments = [datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() for text in received]
        return [1000 * (moment - at) for moment, at in zip(moments, sent, strict=True)]


@contextmanager
def busy(call: object, pause: float) -> Iterator[list[float]]:
    """Call repeatedly in a thread; yield the milliseconds of each call."""
    over, took = threading.Event(), []

    def again() -> None:
        while not over.is_set():
            began = time.perf_counter()
            call()
            took.append(1000 * (time.perf_counter() - began))
            over.wait(pause)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join()


def show(what: str, times: list[float]) -> None:
    figures = f"median {statistics.median(times):6.1f}  p99 {percentile(times, 99):6.1f}  longest {max(times):6.1f} ms"
    print(f"  {what:56} {figures}")


def measure(tree: int, seconds: float, signals: int, source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Supervisor(Path(folder), tree, source=source)
        try:
            print(f"a tree of {tree}")
            time.sleep(45)  # past the time in which the workers of a new server are watched
            print(f"  processor, nobody looks                                  {supervisor.share(seconds):.3f} %")
            show("signals wait, nobody looks", supervisor.delays(signals))
            if source:
                return
            stats = partial(supervisor.client.stats, FullStats)
            with busy(lambda: stats(0.5, history=True), 1.0) as took:
                print(f"  processor, watched every second                          {supervisor.share(seconds):.3f} %")
            show("an answer takes, watched every second", took)
            for name, shared in (("samples without a break", False), ("the same with shared memory", True)):
                with busy(lambda shared=shared: stats(0.0, shared_memory=shared), 0.0) as took:
                    show(f"signals wait, {name}", supervisor.delays(signals))
                show(f"an answer takes, {name}", took)
            resident = resident_mib(supervisor.process.pid)
            print(f"  resident memory after all that                           {resident:.1f} MiB")
        finally:
            supervisor.process.terminate()
            supervisor.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument("--source", default="")
    options = parser.parse_args()
    for tree in options.tree or [1, 1000]:
        measure(tree, options.seconds, options.signals, options.source)


if __name__ == "__main__":
    main()
