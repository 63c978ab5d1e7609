"""The readiness checks of third-party servers: an HTTP response, an open port, or sd_notify.

A check runs on the engine's loop, and reports to its listener until it is closed. The engine itself reads the report
pipe.
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
from drum_supervisor.supervise.health.probe import Outcome, PollSet, Probe, has_head, is_own_response, read_status
from drum_supervisor.supervise.output.reader import Reader

PROBE_INTERVAL = 0.1  # seconds
MAX_MESSAGE = 4000  # characters
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_MESSAGE_NAMES = ("message", "error", "detail")


@dataclass(frozen=True)
class ReadinessProbe:
    """The settings of an HTTP readiness check."""

    path: str
    below: int  # the lowest status that does not mean ready: 400, or 500 where the path need not exist
    failed: int = 513  # the status of a failed initialization


class ReadinessListener(Protocol):
    def on_ready(self) -> None: ...

    def on_failed(self, message: str) -> None: ...

    def on_stage(self, stage: str) -> None: ...


class AddressWatcher:
    """Probes the address until it is closed; reports each response that means ready, or failed.

    On an inherited listener a probe waits in the backlog until the server accepts, so one is usually enough. A
    response of our own error server or stand-in, which may serve the same listener, does not count.

    Args:
        probe: None: an open port means ready.
    """

    def __init__(
        self,
        poll_set: PollSet,
        timers: Timers,
        address: Address,
        probe: ReadinessProbe | None,
        listener: ReadinessListener,
    ) -> None:
        self._poll_set = poll_set
        self._timers = timers
        self._address = address
        self._probe = probe
        self._listener = listener
        self._connection: Probe | None = None
        self._closed = False
        self._start_probe()

    def close(self) -> None:
        self._closed = True
        self._timers.cancel(self)
        if self._connection is not None:
            self._connection.close()

    def _start_probe(self) -> None:
        path = self._probe.path if self._probe else None
        self._connection = Probe(self._poll_set, self._address, path, self._is_complete, self._on_end)

    def _is_complete(self, response: bytes) -> bool:
        return self._probe is None or is_complete(response, self._probe)

    def _on_end(self, outcome: Outcome) -> None:
        probe, response = self._probe, outcome.response
        failure = read_failure(response, probe.failed) if probe else None
        is_ready = is_ready_response(response, probe.below) if probe else not outcome.error
        if failure is not None:
            self._listener.on_failed(failure)
        elif is_ready:
            self._listener.on_ready()
        if not self._closed:
            self._timers.set(self, PROBE_INTERVAL, self._start_probe)


def is_ready_response(head: bytes, below: int) -> bool:
    status = read_status(head)
    return status is not None and 200 <= status < below and not is_own_response(head)


def is_complete(response: bytes, probe: ReadinessProbe) -> bool:
    """Return whether enough was received: the head, and with status `failed` the body, which has the reason."""
    if not has_head(response) or read_status(response) != probe.failed:
        return has_head(response)
    head, _, body = response.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return length is not None and len(body) >= int(length[1])


def read_failure(response: bytes, failed: int) -> str | None:
    """Return the reason from a response with status `failed`: a message in JSON, or plain text; None for others."""
    if read_status(response) != failed or is_own_response(response):
        return None
    _, _, body = response.partition(b"\r\n\r\n")
    text = body.decode("utf-8", "replace").strip()
    message = _read_message(text).strip().removeprefix("ERROR:").strip()
    return message[:MAX_MESSAGE] or f"the model server answered with status {failed}"


def _read_message(body: str) -> str:
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return "" if body.startswith("<") else body
    if isinstance(record, str):
        return record
    messages = [record[name] for name in _MESSAGE_NAMES if name in record] if isinstance(record, dict) else []
    return next((message for message in messages if isinstance(message, str)), "")


class NotifySocket(Reader):
    """Receives sd_notify(3) messages: READY=1, and STATUS= as the stage; an unreadable datagram is ignored."""

    def __init__(self, poll_set: PollSet, path: Path, listener: ReadinessListener) -> None:
        self._poll_set = poll_set
        self._path = path
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self._path))
        os.chmod(self._path, 0o600)
        super().__init__(self._socket.fileno())
        self._listener = listener
        poll_set.watch(self)

    def close(self) -> None:
        self.closed = True
        self._poll_set.unwatch(self)
        self._socket.close()

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
