"""How the supervisor finds out that a foreign server answers: an HTTP answer, an open port, sd_notify.

Each watcher is a dispatcher of the engine's loop or makes some, and tells what it hears until it is closed. (The
report pipe is read by the engine itself.)
"""

import json
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.health.probe import Outcome, Polled, Probe, has_head, is_ours, status_of

AGAIN_AFTER = 0.1
LONGEST_MESSAGE = 4000
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MESSAGE_NAMES = ("message", "error", "detail")


@dataclass(frozen=True)
class ReadinessProbe:
    """An HTTP readiness probe.

    Attributes:
        below: the first status that does not mean ready.
        failed: the status that means that initialization failed.
    """

    path: str
    below: int
    failed: int = 513


class ReadinessListener(Protocol):
    """Takes what a watcher of readiness observes."""

    def on_ready(self) -> None: ...

    def on_failed(self, message: str) -> None: ...

    def on_stage(self, stage: str) -> None: ...


class AddressWatcher:
    """Asks the address again and again, until it is closed: tells of each answer of a server that is ready, or failed.

    On an inherited listener a question waits in the backlog until somebody accepts: usually one is enough. An
    answer of our own error server or stand-in, which may serve the same listener, does not count.
    """

    def __init__(
        self,
        polled: Polled,
        timers: Timers,
        address: Address,
        probe: ReadinessProbe | None,
        listener: ReadinessListener,
    ) -> None:
        self._polled = polled
        self._timers = timers
        self._address = address
        self._probe = probe
        self._listener = listener
        self._connection: Probe | None = None
        self._closed = False
        self._ask()

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._timers.cancel(self)
        self._close_connection()

    def _ask(self) -> None:
        path = self._probe.path if self._probe else None
        self._connection = Probe(self._address, path, self._is_enough, self._on_end)
        self._polled.watch(self._connection)

    def _is_enough(self, answer: bytes) -> bool:
        return self._probe is None or is_complete(answer, self._probe)

    def _on_end(self, outcome: Outcome) -> None:
        self._close_connection()
        probe, answer = self._probe, outcome.received
        failure = failure_in(answer, probe.failed) if probe else None
        ready = is_ready_answer(answer, probe.below) if probe else not outcome.error
        if failure is not None:
            self._listener.on_failed(failure)
        elif ready:
            self._listener.on_ready()
        if not self._closed:
            self._timers.set(self, AGAIN_AFTER, self._ask)

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._polled.unwatch(self._connection)
            self._connection.close()
            self._connection = None


def is_ready_answer(head: bytes, below: int) -> bool:
    """Return whether an HTTP response head says that the model server is ready.

    Args:
        below: the first status that does not: 400, or 500 where nobody promised that the path exists.
    """
    status = status_of(head)
    return status is not None and 200 <= status < below and not is_ours(head)


def is_complete(answer: bytes, probe: ReadinessProbe) -> bool:
    """Return whether enough of an answer has come: its head, and the body only where that says why."""
    if not has_head(answer) or status_of(answer) != probe.failed:
        return has_head(answer)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def failure_in(answer: bytes, failed: int) -> str | None:
    """Return why a server says that it cannot be initialized, None when it does not say so.

    Args:
        failed: the status that says so. The reason is the message in a JSON body, or a body of plain text.
    """
    if status_of(answer) != failed or is_ours(answer):
        return None
    _, _, body = answer.partition(b"\r\n\r\n")
    text = body.decode("utf-8", "replace").strip()
    message = _message(text).strip().removeprefix("ERROR:").strip()
    return message[:LONGEST_MESSAGE] or f"the model server answers with status {failed}"


def _message(body: str) -> str:
    """Return the text in a body: JSON's `message`, `error` or `detail`, plain text as it is; no pages for people."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return "" if body.startswith("<") else body
    if isinstance(record, str):
        return record
    told = [record[name] for name in _MESSAGE_NAMES if name in record] if isinstance(record, dict) else []
    return next((value for value in told if isinstance(value, str)), "")


class NotifySocket:
    """Receives what sd_notify(3) sends: READY=1, and STATUS= as the stage."""

    closed = False

    def __init__(self, polled: Polled, path: Path, listener: ReadinessListener) -> None:
        self._polled = polled
        self._path = path
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self.fd = self._socket.fileno()
        self._listener = listener
        polled.watch(self)

    def close(self) -> None:
        self.closed = True
        self._polled.unwatch(self)
        self._socket.close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        try:
            message = self._socket.recv(4096).decode("utf-8", "replace")
        except BlockingIOError:
            return
        for line in message.splitlines():
            if line.startswith("STATUS="):
                self._listener.on_stage(line.removeprefix("STATUS="))
            elif line == "READY=1":
                self._listener.on_ready()

    def handle_write_event(self) -> None:
        """Nothing is sent."""

    def handle_error(self) -> None:
        """A datagram that cannot be read is no message."""
