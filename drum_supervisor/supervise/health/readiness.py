"""How the supervisor finds out that a foreign server answers: an HTTP answer, an open port, sd_notify.

Each watcher is a dispatcher of the engine's loop or makes some, and tells what it hears until it is closed. (The
report pipe is read by the engine itself.)
"""

import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.health.probe import Outcome, Polled, Probe, has_head, is_ours, status_of
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.programs.program import Readiness

AGAIN_AFTER = 0.1
LONGEST_MESSAGE = 4000
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MESSAGE_NAMES = ("message", "error", "detail")


@dataclass(frozen=True)
class Question:
    """What an HTTP probe asks: a path; the first status that does not mean ready; the one that means failed."""

    path: str
    below: int
    failed: int = 513


class Watcher(Protocol):
    """Looks out for readiness until it is closed."""

    def close(self) -> None: ...


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
        question: Question | None,
        on_ready: Callable[[], None],
        on_failed: Callable[[str], None],
    ):
        self._polled = polled
        self._timers = timers
        self._address = address
        self._question = question
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._probe: Probe | None = None
        self._closed = False
        self._ask()

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._timers.cancel(self)
        self._drop_probe()

    def _ask(self) -> None:
        path = self._question.path if self._question else None
        self._probe = Probe(self._address, path, self._is_enough, self._on_end)
        self._polled.watch(self._probe)

    def _is_enough(self, answer: bytes) -> bool:
        return self._question is None or is_complete(answer, self._question)

    def _on_end(self, outcome: Outcome) -> None:
        self._drop_probe()
        question, answer = self._question, outcome.received
        failure = failure_told(answer, question.failed) if question else None
        ready = is_ready_answer(answer, question.below) if question else not outcome.error
        if failure is not None:
            self._on_failed(failure)
        elif ready:
            self._on_ready()
        if not self._closed:
            self._timers.set(self, AGAIN_AFTER, self._ask)

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._polled.unwatch(self._probe)
            self._probe.close()
            self._probe = None


def is_ready_answer(head: bytes, below: int) -> bool:
    """Return whether an HTTP response head says that the model server is ready.

    Args:
        below: the first status that does not: 400, or 500 where nobody promised that the path exists.
    """
    status = status_of(head)
    return status is not None and 200 <= status < below and not is_ours(head)


def is_complete(answer: bytes, question: Question) -> bool:
    """Return whether enough of an answer has come: its head, and the body only where that says why."""
    if not has_head(answer) or status_of(answer) != question.failed:
        return has_head(answer)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def failure_told(answer: bytes, failed: int) -> str | None:
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

    def __init__(
        self, polled: Polled, run_dir: RunDir, on_ready: Callable[[], None], on_stage: Callable[[str], None]
    ) -> None:
        self._polled = polled
        self._path = run_dir.notify_socket
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        os.chmod(self._path, 0o600)
        self.fd = self._socket.fileno()
        self._on_ready = on_ready
        self._on_stage = on_stage
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
                self._on_stage(line.removeprefix("STATUS="))
            elif line == "READY=1":
                self._on_ready()

    def handle_write_event(self) -> None:
        """Nothing is sent."""

    def handle_error(self) -> None:
        """A datagram that cannot be read is no message."""


def watcher(
    readiness: Readiness,
    polled: Polled,
    timers: Timers,
    address: Address,
    question: Question,
    run_dir: RunDir,
    on_ready: Callable[[], None],
    on_stage: Callable[[str], None],
    on_failed: Callable[[str], None],
) -> Watcher | None:
    """Return the watcher for this kind of readiness, None for the report pipe."""
    if readiness is Readiness.REPORT:
        return None
    if readiness is Readiness.NOTIFY:
        return NotifySocket(polled, run_dir, on_ready, on_stage)
    asked = question if readiness is Readiness.HTTP else None
    return AddressWatcher(polled, timers, address, asked, on_ready, on_failed)
