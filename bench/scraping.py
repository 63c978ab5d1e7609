"""The cost of metrics: the exporter's memory, processor time of a scrape, and the effect on the supervisor.

`python -m bench.scraping [--tree 1 --tree 1000] [--seconds 30] [--signals 200]`

The supervisor of bench/sampling.py with an exporter: not scraped, scraped every second as by Prometheus, and
scraped continuously.
"""

import argparse
import os
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.children import cpu_seconds
from bench.sampling import Supervisor, busy, show

ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}


class Scraped(Supervisor):
    """A supervisor with a tree of that size, and metrics."""

    def __init__(self, folder: Path, tree: int) -> None:
        super().__init__(folder, tree, "--metrics-address", "127.0.0.1:0")
        self.address = folder / "run" / "metrics-address"

    def scrape(self) -> None:
        request = urllib.request.Request(f"http://{self.address.read_text().strip()}/metrics", headers=ACCEPT)
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def exporter(self) -> int:
        return next(each.pid for each in self.client.status().programs if each.name == "exporter")


def memory(pid: int) -> str:
    """Return resident and unshared memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(":", 1) for line in lines)}
    return f"{kib['Rss'] / 1024:.1f} MiB, {(kib['Private_Clean'] + kib['Private_Dirty']) / 1024:.1f} of them its own"


def measure(tree: int, seconds: float, signals: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        supervisor = Scraped(Path(folder), tree)
        try:
            print(f"a tree of {tree}")
            time.sleep(45)  # as in sampling.py
            pid = supervisor.exporter()
            supervisor.scrape()
            print(f"  exporter, resident memory                                {memory(pid)}")
            print(f"  supervisor's processor, nobody scrapes                   {supervisor.share(seconds):.3f} %")
            used = cpu_seconds(pid)
            with busy(supervisor.scrape, 1.0) as took:
                print(f"  supervisor's processor, scraped every second             {supervisor.share(seconds):.3f} %")
            each = 1000 * (cpu_seconds(pid) - used) / len(took)
            print(f"  exporter's processor time for a scrape                   {each:.1f} ms")
            show("a scrape takes, one every second", took)
            show("signals wait, nobody scrapes", supervisor.delays(signals))
            with busy(supervisor.scrape, 1.0):
                show("signals wait, scraped every second", supervisor.delays(signals))
            with busy(supervisor.scrape, 0.0) as took:
                show("signals wait, scraped without a break", supervisor.delays(signals))
                print(f"  supervisor's processor, scraped without a break          {supervisor.share(5):.3f} %")
            show("a scrape takes, without a break", took)
            print(f"  exporter, resident memory after {len(took):6} more              {memory(pid)}")
        finally:
            supervisor.process.terminate()
            supervisor.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--signals", type=int, default=200)
    options = parser.parse_args()
    os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT", None)
    for tree in options.tree or [1, 1000]:
        measure(tree, options.seconds, options.signals)


if __name__ == "__main__":
    main()
