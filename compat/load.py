"""Clients that send requests continuously, each on a new connection, and the outcome of each request."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY = 0.008
AT_ONCE = 200  # at most so many requests wait at a time
PATIENCE = 30.0

ANSWERED = "answered"


@dataclass
class Load:
    """The clients of one address.

    Attributes:
        outcomes: count of each: `answered` (correctly), `refused`, `reset`, `closed` (without a complete response),
            `timed out`, or a status.
        answered_at: when the last correct response came, on the monotonic clock.
        worst: the longest time between two correct responses, in seconds, since `mark()`.
    """

    host: str
    port: int
    request: bytes
    outcomes: "Counter[str]" = field(default_factory=Counter)
    answered_at: float = field(default_factory=time.monotonic)
    worst: float = 0.0
    _over: bool = False

    def mark(self) -> None:
        """Start counting from here."""
        self.outcomes = Counter()
        self.answered_at, self.worst = time.monotonic(), 0.0

    def lost(self) -> dict[str, int]:
        """Return the requests without a correct response since `mark()`."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != ANSWERED}

    async def run(self) -> None:
        waiting: set[asyncio.Task[None]] = set()
        while not self._over:
            if len(waiting) < AT_ONCE:
                task = asyncio.create_task(self._ask())
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            await asyncio.sleep(EVERY)
        await asyncio.gather(*waiting)

    def stop(self) -> None:
        self._over = True

    async def _ask(self) -> None:
        outcome = await ask(self.host, self.port, self.request)
        self.outcomes[outcome] += 1
        if outcome == ANSWERED:
            now = time.monotonic()
            self.worst = max(self.worst, now - self.answered_at)
            self.answered_at = now


async def ask(host: str, port: int, request: bytes, patience: float = PATIENCE) -> str:
    """Send `request` on a new connection and return its outcome."""
    try:
        answer = await asyncio.wait_for(_answer(host, port, request), patience)
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    except (asyncio.TimeoutError, TimeoutError):
        return "timed out"
    except OSError as error:
        return error.strerror or repr(error)
    return judged(answer)


def judged(answer: bytes) -> str:
    """Return the outcome of a response; a correct one has 42 in its body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12].decode("ascii", "replace")
    if not status or not head.startswith(b"HTTP/1."):
        return "closed"
    if status != "200":
        return status
    return ANSWERED if b"42" in body else "closed"


async def _answer(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        return await reader.read(-1)
    finally:
        writer.close()


@contextmanager
def load(host: str, port: int, request: bytes) -> Iterator[Load]:
    """Send requests from a thread until the block ends and the last response has arrived."""
    clients = Load(host, port, request)
    thread = threading.Thread(target=lambda: asyncio.run(clients.run()))
    thread.start()
    try:
        yield clients
    finally:
        clients.stop()
        thread.join()
