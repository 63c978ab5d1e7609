"""The longest response time for a client that sends a request every five milliseconds, through failure and recovery.

Each round is one supervisor: it starts, initialization fails, a retry succeeds, the model server is killed and
restarted. Each request has a connection of its own. For each part (start, failure, retry, kill,
recovery) the longest response time of the requests that began in it is measured: with `--while-starting respond`, where
a stand-in answers, and with `hold`, where requests wait, so that the times are those of the start. Losses are responses
that never came once the address was bound, except those of the killed process.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.clients import REQUEST, reserved_port
from bench.harness import OURS, Round, Table, Values, at_most
from bench.places import Place
from bench.supervised import supervised

NAME = "swap"
ROUNDS = 0
WAYS = {OURS: "respond", "with --while-starting hold": "hold"}
PARTS = {
    "start": "the start",
    "failure": "the failure",
    "retry": "the retry that succeeds",
    "crash": "the crash",
    "recovery": "the recovery",
}
TABLES = (
    *(
        Table(part, f"Longest answer of a request begun at {words}, with a stand-in", "ms")
        for part, words in PARTS.items()
    ),
    Table("late", "How long after the failure 503 was still answered", "ms"),
    Table("lost", "Connections refused or broken in all that", "requests", (at_most(0, "requests", max),)),
)
EVERY = 0.005
LONGEST = 60.0
# An attempt reads its outcome from a named pipe, and records the time before it acts on it.
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


def rounds(place: Place) -> Iterator[Round]:
    for number in itertools.count():
        found = {}
        for who, way in WAYS.items():
            folder = place.folder / f"swap-{number}-{way}"
            folder.mkdir()
            with reserved_port() as port:
                found[who] = measured(*asyncio.run(story(place, folder, port, way)))
        yield found


@dataclass
class Outcome:
    """One request: its start, its duration, and its status or error."""

    begun: float
    seconds: float
    result: object


@dataclass
class Client:
    """Starts a request every five milliseconds without waiting for any of them."""

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
        """Wait until the last responses all have this status."""
        deadline = time.monotonic() + LONGEST
        while [each.result for each in self.outcomes[-count:]] != [status] * count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not only {status}: {Counter(each.result for each in self.outcomes)}")
            await asyncio.sleep(EVERY)


async def story(place: Place, folder: Path, port: int, while_starting: str) -> tuple[Client, dict[str, float]]:
    """Run all parts; return the client with its outcomes, and the start of each part."""
    (folder / "custom.py").write_text(CUSTOM)
    os.mkfifo(folder / "gate")
    model = ("--address", f"127.0.0.1:{port}", "--code-dir", str(folder), "--target-type", "unstructured")
    rules = ("--while-starting", while_starting, "--max-retries", "1", "--retry-interval", "1")
    client, parts = Client(port), {"start": time.monotonic()}
    asking = asyncio.create_task(client.run())
    with supervised(place, folder, *model, *rules) as ours:
        try:
            parts["failure"] = await pass_gate(folder, "fails")
            await client.until(513)
            parts["retry"] = await pass_gate(folder, "loads")
            await client.until(200)
            (server,) = [each for each in ours.client.status().programs if each.name == "model-server"]
            parts["crash"] = time.monotonic()
            os.kill(server.pid, signal.SIGKILL)
            parts["recovery"] = await pass_gate(folder, "loads")
            await client.until(200)
        finally:
            client.ended = True
            await asking
    return client, parts


async def pass_gate(folder: Path, how: str) -> float:
    """Half a second into an attempt, let it fail or succeed; return when it did."""
    moment = folder / "moment"
    moment.unlink(missing_ok=True)
    gate = await asyncio.to_thread(open, folder / "gate", "w")
    await asyncio.sleep(0.5)
    with gate:
        gate.write(how)
    while not (moment.exists() and (text := moment.read_text())):
        await asyncio.sleep(0.001)
    return float(text)


def measured(client: Client, parts: dict[str, float]) -> Values:
    """Return the longest response time of each part, how long 503 was answered after the failure, and losses."""
    answered = [each for each in client.outcomes if isinstance(each.result, int)]
    begins = [*parts.items(), ("end", float("inf"))]
    longest = {
        name: 1000 * max((each.seconds for each in answered if begun <= each.begun < end), default=0.0)
        for (name, begun), (_, end) in itertools.pairwise(begins)
    }
    late = [each.begun - parts["failure"] for each in answered if each.result == 503 and each.begun < parts["retry"]]
    opened = min(each.begun for each in answered)
    lost = [each for each in client.outcomes if each.begun >= opened and not isinstance(each.result, int)]
    killed = sum(each.begun <= parts["crash"] <= each.begun + each.seconds for each in lost)
    return {**longest, "late": 1000 * max([0.0, *late]), "lost": len(lost) - killed}
