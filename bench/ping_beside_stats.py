"""The latency of `/ping` under heavy load on `/stats/`, compared with the same load on `/ping` itself.

`python -m bench.ping_beside_stats [--seconds 3] [--clients 8] [--rounds 7]`

Each round measures without load, with load on `/ping` and with load on `/stats/`, one after the other, for each server
type; medians over the rounds are printed. All clients are one process, which shares the processors with the server.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import percentile

SERVER_TYPES = ("fastapi", "flask", "gunicorn")
BESIDE = ("", "/ping", "/stats/")
CUSTOM = "def load_model(code_dir): return 1\ndef score_unstructured(model, data, **kwargs): return data\n"


async def get(port: int, path: str) -> float:
    """Return the seconds that one request takes on a new connection."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))
    seconds = time.perf_counter() - began
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(head)
    return seconds


async def measure(port: int, beside: str, seconds: float, clients: int) -> tuple[list[float], int]:
    """Return one client's times of `/ping`, and the number of responses that the load got."""
    ends, answered = time.perf_counter() + seconds, 0

    async def hammer() -> None:
        nonlocal answered
        while time.perf_counter() < ends:
            await get(port, beside)
            answered += 1

    hammering = [asyncio.create_task(hammer()) for _ in range(clients if beside else 0)]
    times = []
    while time.perf_counter() < ends:
        times.append(await get(port, "/ping"))
        await asyncio.sleep(0.002)
    await asyncio.gather(*hammering)
    return times, answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{'server':9} {'beside':8} {'p50 ms':>8} {'p99 ms':>8} {'others/s':>9} {'p99, ratio':>11}")
    for server_type in SERVER_TYPES:
        found: dict[str, list[tuple[float, float, float]]] = {beside: [] for beside in BESIDE}
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "custom.py").write_text(CUSTOM)
            command = ["--code-dir", folder, "--target-type", "unstructured", "--server-type", server_type]
            server = subprocess.Popen(
                [sys.executable, "-m", "drum_supervisor.serve.model", *command, "--address", "127.0.0.1:0"],
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                port = int(re.search(r":(\d+) ", server.stderr.readline())[1])
                for _ in range(options.rounds):
                    for beside in BESIDE:
                        times, answered = asyncio.run(measure(port, beside, options.seconds, options.clients))
                        rate = answered / options.seconds
                        found[beside].append((percentile(times, 50), percentile(times, 99), rate))
            finally:
                server.terminate()
                server.wait()
        medians = {
            beside: [statistics.median(column) for column in zip(*rows, strict=True)] for beside, rows in found.items()
        }
        for beside, (p50, p99, rate) in medians.items():
            ratio = p99 / medians["/ping"][1]
            print(f"{server_type:9} {beside or '-':8} {1000 * p50:8.2f} {1000 * p99:8.2f} {rate:9.0f} {ratio:11.2f}")


if __name__ == "__main__":
    main()
