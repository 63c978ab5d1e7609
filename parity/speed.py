"""`python -m parity.speed`: the speed of DRUM's default server and of ours, with the same model and one worker each.

All servers run at the same time and are measured one after the other, round by round, so that other load on the machine
affects all alike; medians over the rounds are printed. The clients are one process, which shares the processors
with the measured server. Connections are kept if the server keeps them: DRUM's default server closes each
after its response. Figures of a busy machine mean little; compare the ratios.

`no server` is the upper bound for a server in one process: the same model, called with the same bodies in a loop.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from drum_supervisor.config.settings import choose, resolve
from drum_supervisor.model.loading import load
from drum_supervisor.model.model import Model as Loaded
from parity.environment import add_option, checked, versions
from parity.models import Model, copied
from parity.run import PACKAGES, start_all
from parity.servers import DRUM, OURS, Running

MODEL = Model("speed", "regression", ())
COLUMNS = 10
ROWS = (1, 100, 10_000)
CONNECTIONS = (1, 16)
PROBE_PAUSE = 0.005
PREDICTIONS, PROBES = "predictions", "probes"
NO_SERVER = "no server"


@dataclass(frozen=True)
class Figures:
    """One server's result of one round; times are in milliseconds."""

    server: str
    what: str
    rows: int
    connections: int
    per_second: float
    p50: float
    p99: float


class Client:
    """One connection to a server, reopened if it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> float:
        """Return the seconds until the response to `request`, connecting included; it must be a 200."""
        began = time.perf_counter()
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        body = await self._reader.readexactly(length)
        seconds = time.perf_counter() - began
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"{head!r} {body[:200]!r}")
        if b"connection: close" in head:
            self.close()
        return seconds

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def data(rows: int) -> bytes:
    """Return a CSV with that many rows."""
    lines = [",".join(f"column {number}" for number in range(COLUMNS))]
    lines += [",".join(f"{(row * 7 + number) % 23 / 3:.6f}" for number in range(COLUMNS)) for row in range(rows)]
    return "\n".join(lines).encode()


def prediction(rows: int) -> bytes:
    body = data(rows)
    head = f"POST /predict/ HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def predict(port: int, request: bytes, connections: int, ends: float) -> list[float]:
    """Return the times of predictions by concurrent clients until `ends`."""

    async def hammer() -> list[float]:
        client, times = Client(port), []
        try:
            while time.perf_counter() < ends:
                times.append(await client.ask(request))
        finally:
            client.close()
        return times

    return [each for times in await asyncio.gather(*(hammer() for _ in range(connections))) for each in times]


async def probe(port: int, ends: float) -> list[float]:
    """Return the times of `/ping`, each on a new connection like a probe, until `ends`."""
    times = []
    while time.perf_counter() < ends:
        client = Client(port)
        times.append(await client.ask(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
        client.close()
        await asyncio.sleep(PROBE_PAUSE)
    return times


async def measured(server: Running, rows: int, connections: int, seconds: float, probes: bool) -> Figures:
    """Predict for some seconds; return the figures of the predictions, or of the probes sent meanwhile."""
    began = time.perf_counter()
    ends = began + seconds
    predicting = predict(server.port, prediction(rows), connections, ends)
    times = (await asyncio.gather(predicting, probe(server.port, ends)))[1] if probes else await predicting
    return summed_up(server.name, PROBES if probes else PREDICTIONS, rows, connections, times, began)


@contextmanager
def loaded(model: Model) -> Iterator[Loaded]:
    """Load a model in this process."""
    with TemporaryDirectory() as folder:
        code_dir = copied(model.name, Path(folder), Path(sys.executable))
        settings = resolve(choose({"code_dir": str(code_dir), "target_type": model.target_type}, {}))
        yield load(settings, lambda stage: None)


def alone(model: Loaded, rows: int, connections: int, seconds: float) -> Figures:
    """Predict for some seconds in a loop; no request is sent, so the number of connections is only a label."""
    body, times = data(rows), list[float]()
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        before = time.perf_counter()
        model.predict_as_json(body, "text/csv")
        times.append(time.perf_counter() - before)
    return summed_up(NO_SERVER, PREDICTIONS, rows, connections, times, began)


def summed_up(server: str, what: str, rows: int, connections: int, times: list[float], began: float) -> Figures:
    """Return the figures of requests with these `times`, from `began` until now."""
    taken = time.perf_counter() - began
    p50, p99 = (1000 * percentile(times, percent) for percent in (50, 99))
    return Figures(server, what, rows, connections, len(times) / taken, p50, p99)


def percentile(times: list[float], percent: float) -> float:
    return sorted(times)[min(int(len(times) * percent / 100), len(times) - 1)]


def medians(figures: list[Figures]) -> list[Figures]:
    """Return the median of each figure for each server and load."""
    groups: dict[tuple[str, str, int, int], list[Figures]] = {}
    for each in figures:
        groups.setdefault((each.server, each.what, each.rows, each.connections), []).append(each)
    return [
        Figures(
            *key, *(statistics.median(getattr(each, name) for each in group) for name in ("per_second", "p50", "p99"))
        )
        for key, group in groups.items()
    ]


def tables(figures: list[Figures]) -> str:
    """Return two Markdown tables, one of the predictions and one of the probes."""
    of = {(each.what, each.rows, each.connections, each.server): each for each in figures}
    lines = ["| rows | connections | server | requests/s | p50 ms | p99 ms | x DRUM |", "|---|---|---|---|---|---|---|"]
    for (what, rows, connections, server), each in of.items():
        if what == PREDICTIONS:
            ratio = each.per_second / of[what, rows, connections, DRUM].per_second
            cells = [rows, connections, server, f"{each.per_second:.0f}", f"{each.p50:.1f}", f"{each.p99:.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} | {ratio:.2f} |")
    lines += ["", "`/ping` while predictions run:", ""]
    lines += ["| rows | connections | server | p50 ms | p99 ms |", "|---|---|---|---|---|"]
    for (what, rows, connections, server), each in of.items():
        if what == PROBES:
            lines.append(f"| {rows} | {connections} | {server} | {each.p50:.1f} | {each.p99:.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; the exit code does not depend on the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--server", action="append", choices=OURS, help="only this server of ours; may be repeated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures of all rounds")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all child processes are stopped
    drum = checked(parser, options.drum)
    for side, python in ((DRUM, drum / "bin" / "python"), ("ours", Path(sys.executable))):
        print(
            f"{side + ':':6}", ", ".join(f"{name} {version}" for name, version in versions(python, *PACKAGES).items())
        )
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} before anything was started", flush=True)
    figures: list[Figures] = []
    with ExitStack() as stack:
        servers = start_all(stack, MODEL, (DRUM, *(options.server or OURS)), drum)
        model = stack.enter_context(loaded(MODEL))
        loads = [(rows, connections, False) for rows in ROWS for connections in CONNECTIONS]
        loads += [(rows, max(CONNECTIONS), True) for rows in ROWS]
        for server in servers:  # warm-up
            asyncio.run(measured(server, 1, max(CONNECTIONS), options.seconds / 4, False))
        for number in range(options.rounds):
            for rows, connections, probes in loads:
                load = rows, connections, options.seconds, probes
                figures += [asyncio.run(measured(server, *load)) for server in servers]
                if not probes:
                    figures.append(alone(model, rows, connections, options.seconds))
            print(f"round {number + 1} of {options.rounds}, load {os.getloadavg()[0]:.2f}", flush=True)
    print("\n" + tables(medians(figures)))
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in figures], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
