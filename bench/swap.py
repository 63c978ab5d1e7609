"""The longest wait of a client that asks every five milliseconds, from before the start over failure, retry and crash.

`python bench/swap.py [--while-starting respond] [--server-type fastapi] [--rounds 7]`

Each round is one supervisor: it starts, initialization fails, a retry succeeds, the model server is killed and started
again. Each request has a connection of its own. Printed are medians over the rounds, and the worst of all: for each
part of the story (it starts, fails, is retried, is killed, recovers) the longest answer time of a request that was
begun in it; how long after the failure a request was begun that was still answered with 503; and what was lost.
With `--while-starting hold` requests wait, so that the times are those of the start.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 0.005
LONGEST = 60.0
# What becomes of an attempt is read from a named pipe; the moment is written down before it is known to anybody.
CUSTOM = """
import os, time
def load_model(code_dir):
    with open(os.path.join(code_dir, "gate")) as gate:
        how = gate.read()
    with open(os.path.join(code_dir, "moment"), "w") as moment:
        moment.write(str(time.monotonic()))
    if how != "loads":
        raise RuntimeError("no weights")
    return 1
def score_unstructured(model, data, **kwargs):
    return "fine"
"""
REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"


@dataclass
class Outcome:
    """One request: when it was begun, how long it took, and its status, or what went wrong."""

    begun: float
    seconds: float
    result: object


@dataclass
class Client:
    """Begins a request every five milliseconds, and waits for none of them."""

    port: int
    outcomes: list[Outcome] = field(default_factory=list)
    ended: bool = False

    async def run(self) -> None:
        begun, requests = time.monotonic(), set()
        while not self.ended:
            task = asyncio.create_task(self._ask())
            requests.add(task)
            task.add_done_callback(requests.discard)
            begun += EVERY
            await asyncio.sleep(max(begun - time.monotonic(), 0))
        await asyncio.gather(*requests)

    async def _ask(self) -> None:
        begun = time.monotonic()
        try:
            result: object = await asyncio.wait_for(self._status(), LONGEST)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            result = type(error).__name__
        self.outcomes.append(Outcome(begun, time.monotonic() - begun, result))

    async def _status(self) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            writer.write(REQUEST)
            status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
            await reader.read()
            return status

    async def until(self, status: int, count: int = 100) -> None:
        """Wait until the last answers all have this status."""
        deadline = time.monotonic() + LONGEST
        while [each.result for each in self.outcomes[-count:]] != [status] * count:
            if time.monotonic() > deadline:
                raise AssertionError(Counter(each.result for each in self.outcomes))
            await asyncio.sleep(EVERY)


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that the kernel gives to nobody by chance, while a server with SO_REUSEADDR may have it."""
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


async def story(folder: Path, port: int, options: argparse.Namespace) -> tuple[Client, dict[str, float]]:
    """Live through it; return the client with what it saw, and when each part began."""
    (folder / "custom.py").write_text(CUSTOM)
    os.mkfifo(folder / "gate")
    command = [sys.executable, "-m", "drum_supervisor", "start", "--address", f"127.0.0.1:{port}", "--code-dir"]
    given = ["--target-type", "unstructured", "--server-type", options.server_type]
    rules = ["--while-starting", options.while_starting, "--max-retries", "1", "--retry-interval", "1"]
    run_dir = folder / "run"
    client, parts = Client(port), {"start": time.monotonic()}
    asking = asyncio.create_task(client.run())
    supervisor = subprocess.Popen(
        [*command, str(folder), *given, *rules, "--run-dir", str(run_dir)], stderr=subprocess.DEVNULL
    )
    try:
        parts["failure"] = await pass_gate(folder, "fails")
        await client.until(513)
        parts["retry"] = await pass_gate(folder, "loads")
        await client.until(200)
        pid = await model_server(run_dir)
        parts["crash"] = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        parts["recovery"] = await pass_gate(folder, "loads")
        await client.until(200)
    finally:
        client.ended = True
        await asking
        supervisor.terminate()
        supervisor.wait()
    return client, parts


async def pass_gate(folder: Path, how: str) -> float:
    """Let half a second pass in an attempt, then let it fail or succeed; return when it did."""
    moment = folder / "moment"
    moment.unlink(missing_ok=True)
    gate = await asyncio.to_thread(open, folder / "gate", "w")
    await asyncio.sleep(0.5)
    with gate:
        gate.write(how)
    while not (moment.exists() and (text := moment.read_text())):
        await asyncio.sleep(0.001)
    return float(text)


async def model_server(run_dir: Path) -> int:
    command = [sys.executable, "-m", "drum_supervisor", "ctl", "--run-dir", str(run_dir), "pid", "model-server"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return int(out)


def measured(client: Client, parts: dict[str, float]) -> dict[str, float]:
    """Return the longest answer of each part and of all, how long 503 was answered after the failure, and losses."""
    answered = [each for each in client.outcomes if isinstance(each.result, int)]
    begins = [*parts.items(), ("end", float("inf"))]
    longest = {
        name: max((each.seconds for each in answered if begun <= each.begun < end), default=0.0)
        for (name, begun), (_, end) in itertools.pairwise(begins)
    }
    late = [each.begun - parts["failure"] for each in answered if each.result == 503 and each.begun < parts["retry"]]
    opened = min(each.begun for each in answered)
    lost = [each for each in client.outcomes if each.begun >= opened and not isinstance(each.result, int)]
    killed = sum(each.begun <= parts["crash"] <= each.begun + each.seconds for each in lost)
    times = {**longest, "all": max(longest.values()), "503 after the failure": max([0.0, *late])}
    return {
        **{f"{name}, ms": 1000 * seconds for name, seconds in times.items()},
        "lost with the killed process": killed,
        "lost otherwise": len(lost) - killed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--while-starting", default="respond")
    parser.add_argument("--server-type", default="fastapi")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder, reserved_port() as port:
            client, parts = asyncio.run(story(Path(folder), port, options))
        rounds.append(measured(client, parts))
        print(Counter(each.result for each in client.outcomes), file=sys.stderr)
    print(f"{'longest answer of a request begun at':36} {'median':>8} {'worst':>8}")
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        print(f"{name:36} {statistics.median(values):8.1f} {max(values):8.1f}")


if __name__ == "__main__":
    main()
