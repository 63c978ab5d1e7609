"""How the supervisor finds out that a foreign server answers: an HTTP answer, an open port, sd_notify.

Each watcher is a dispatcher of the engine's loop or makes some, and tells what it hears until it is closed. (The
report pipe is read by the engine itself.)
"""

import errno
import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from drum_supervisor.contract.http import PROGRAM_HEADER
from drum_supervisor.contract.listener import Address
from drum_supervisor.supervise.programs import Readiness
from drum_supervisor.supervise.run_dir import RunDir
from drum_supervisor.supervise.running import Dispatcher
from drum_supervisor.supervise.timers import Timers

AGAIN_AFTER = 0.1
LONGEST_ANSWER = 64 * 1024
LONGEST_MESSAGE = 4000
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MESSAGE_NAMES = ("message", "error", "detail")
_OURS = re.compile(b"\r\n" + PROGRAM_HEADER.encode() + b":", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """What an HTTP probe asks: a path; the first status that does not mean ready; the one that means failed."""

    path: str
    below: int
    failed: int = 513


class Polled(Protocol):
    """The part of the engine that watchers use."""

    def watch(self, dispatcher: Dispatcher) -> None: ...

    def unwatch(self, dispatcher: Dispatcher) -> None: ...


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
        self._probe: _Probe | None = None
        self._closed = False
        self._ask()

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._timers.cancel(self)
        self._drop_probe()

    def _ask(self) -> None:
        self._probe = _Probe(self._address, self._question, self._on_answer)
        self._polled.watch(self._probe)

    def _on_answer(self, ready: bool, failure: str | None = None) -> None:
        self._drop_probe()
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


class _OnAnswer(Protocol):
    def __call__(self, ready: bool, failure: str | None = None) -> None: ...


class _Probe:
    """One connection, and one GET request on it unless there is no question."""

    def __init__(self, address: Address, question: Question | None, on_answer: "_OnAnswer") -> None:
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self.fd = self._socket.fileno()
        self.closed = False
        self._host = str(address)
        self._question = question
        self._on_answer = on_answer
        self._sent = False
        self._received = b""
        target = address.path or (address.client_host, address.port)
        try:
            self._error = self._socket.connect_ex(target)
        except OSError as error:  # a name that means nothing, or has no address of this family
            self._error = error.errno or errno.EADDRNOTAVAIL

    def close(self) -> None:
        self.closed = True
        self._socket.close()

    def readable(self) -> bool:
        return self._sent and not self.closed

    def writable(self) -> bool:
        return not self._sent and not self.closed

    def handle_write_event(self) -> None:
        """Connected, or refused."""
        if self._error not in (0, errno.EINPROGRESS) or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._on_answer(False)
        elif self._question is None:
            self._on_answer(True)
        else:
            self._sent = True
            self._socket.sendall(_request(self._question.path, self._host))

    def handle_read_event(self) -> None:
        assert self._question is not None, "without a question nothing was sent"
        data = self._socket.recv(4096)
        self._received += data
        if not data or len(self._received) > LONGEST_ANSWER or is_complete(self._received, self._question):
            ready = is_ready_answer(self._received, self._question.below)
            self._on_answer(ready, failure_told(self._received, self._question.failed))

    def handle_error(self) -> None:
        self._on_answer(False)


def _request(path: str, host: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: drum-supervise\r\n\r\n"
    return head.encode("ascii", "replace")


def is_ready_answer(head: bytes, below: int) -> bool:
    """Return whether an HTTP response head says that the model server is ready.

    Args:
        below: the first status that does not: 400, or 500 where nobody promised that the path exists.
    """
    status = _STATUS.match(head)
    return status is not None and 200 <= int(status[1]) < below and not _OURS.search(head)


def is_complete(answer: bytes, question: Question) -> bool:
    """Return whether enough of an answer has come: its head, and the body only where that says why."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or not _has_status(head, question.failed):
        return bool(end)
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def failure_told(answer: bytes, failed: int) -> str | None:
    """Return why a server says that it cannot be initialized, None when it does not say so.

    Args:
        failed: the status that says so. The reason is the message in a JSON body, or a body of plain text.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    if not _has_status(head, failed) or _OURS.search(head):
        return None
    text = body.decode("utf-8", "replace").strip()
    message = _message(text).strip().removeprefix("ERROR:").strip()
    return message[:LONGEST_MESSAGE] or f"the model server answers with status {failed}"


def _has_status(head: bytes, expected: int) -> bool:
    status = _STATUS.match(head)
    return status is not None and int(status[1]) == expected


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
