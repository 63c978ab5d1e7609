"""Child processes, started as the supervisor starts them, on a listener of the test; and raw requests to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from drum_supervisor.contract.listener import bind, parse_address
from drum_supervisor.contract.report_pipe import REPORT_FD_VARIABLE, InitFailedMessage, Message, ReadyMessage, decode
from tests.support import TIMEOUT, until

ROOT = Path(__file__).parents[2]
ANSWER_SECONDS = 20.0

T = TypeVar("T")

# Puts the listener on fd 3 and the report pipe on fd 4, as the supervisor does, and says so in the environment.
_LAUNCH = """
import fcntl, os, sys
listener, report = (fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3])
os.dup2(listener, 3)
os.dup2(report, 4)
if sys.argv[3] == "supervised":
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.closerange(5, 64)
os.execv(sys.argv[4], sys.argv[4:])
"""


class Child:
    """A child process with the listener, its output in files.

    Args:
        folder: receives the output.
        argv: Python's arguments: `-m module`, or a file, and its arguments.
        listener: shared with the child; the test closes it.
        supervised: announce the listener in the child's environment.
    """

    def __init__(
        self,
        folder: Path,
        argv: Sequence[str],
        listener: socket.socket,
        environ: Mapping[str, str] | None = None,
        supervised: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.err = folder / "out.log", folder / "err.log"
        self.listener = listener
        self._report, report = os.pipe()
        os.set_blocking(self._report, False)
        self._unread = b""
        self._messages: list[Message] = []
        fds = (listener.fileno(), report)
        launch = [
            sys.executable,
            "-S",
            "-E",
            "-c",
            _LAUNCH,
            *map(str, fds),
            "supervised" if supervised else "alone",
            sys.executable,
            *argv,
        ]
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("DRUM_", "MLOPS_", "LISTEN_"))
        }
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.process = subprocess.Popen(
                launch,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=fds,
                start_new_session=True,
                env={**clean, "PYTHONPATH": str(ROOT), REPORT_FD_VARIABLE: "4", **(environ or {})},
            )
        os.close(report)

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    def output(self) -> str:
        return f"{self.stdout[-4000:]}\n{self.stderr[-8000:]}"

    def messages(self) -> list[Message]:
        """Return the messages on the report pipe so far."""
        try:
            while data := os.read(self._report, 65536):
                self._unread += data
        except BlockingIOError:
            pass
        *lines, self._unread = self._unread.split(b"\n")
        self._messages += [decode(line) for line in lines]
        return self._messages

    def until(self, probe: Callable[[], T]) -> T:
        return until(probe, self.process, self.output)

    def until_ready(self, count: int = 1) -> "Child":
        self.until(lambda: self.messages().count(ReadyMessage()) >= count)
        return self

    def failures(self) -> list[InitFailedMessage]:
        return [message for message in self.messages() if isinstance(message, InitFailedMessage)]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait for the exit, and return its status."""
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.output()}") from None

    def tree(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _session(process.pid) == self.process.pid]

    def until_gone(self) -> None:
        """Wait until its workers have exited too."""
        until(lambda: not self.tree())

    def memory(self) -> int:
        """Return the RSS of the process and its workers, in bytes."""
        return sum(process.memory_info().rss for process in self.tree())

    def close(self) -> None:
        for process in self.tree():
            process.kill()
        self.process.wait(TIMEOUT)
        os.close(self._report)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


@contextmanager
def listening(address: str = "127.0.0.1:0") -> Iterator[socket.socket]:
    with bind(parse_address(address)) as listener:
        yield listener


def connect(listener: socket.socket) -> socket.socket:
    connection = socket.socket(listener.family, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_SECONDS)
    connection.connect(listener.getsockname())
    return connection


@dataclass(frozen=True)
class Raw:
    """A response as received; header names in lower case."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        return ", ".join(self.headers.get(name, []))


def ask(listener: socket.socket, data: bytes) -> Raw:
    """Send `data` on a new connection, and return the response."""
    with connect(listener) as connection:
        connection.sendall(data)
        return answer(connection, head_only=data.startswith(b"HEAD "))


def answer(connection: socket.socket, head_only: bool = False) -> Raw:
    """Read one response, which must have a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        if not data:
            raise AssertionError(f"the connection was closed after {received!r}")
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    raw = _without_body(head)
    if raw.status == 100:
        return answer_after(connection, body, head_only)
    length = 0 if head_only or raw.status in (204, 304) else int(raw.header("content-length"))
    while len(body) < length:
        data = connection.recv(65536)
        if not data:
            raise AssertionError(f"the body ended after {len(body)} of {length} bytes")
        body += data
    return replace(raw, body=body[:length] if not head_only else body)


def answers(connection: socket.socket) -> list[Raw]:
    """Read all responses, which must have a length, until the server closes the connection."""
    received = b"".join(iter(lambda: connection.recv(65536), b""))
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        raw = _without_body(head)
        length = int(raw.header("content-length") or 0)
        found.append(replace(raw, body=received[:length]))
        received = received[length:]
    return found


def _without_body(head: bytes) -> Raw:
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return Raw(int(status.split(" ", 2)[1]), headers, b"")


def answer_after(connection: socket.socket, received: bytes, head_only: bool) -> Raw:
    assert not received, received
    return answer(connection, head_only)


def request(method: str, target: str, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: test", *length, *headers, "", ""]).encode() + body


def get(child: Child, path: str = "/") -> str:
    """Return the body of a response; until a worker accepts, the request waits in the backlog."""
    raw = ask(child.listener, request("GET", path))
    assert raw.status == 200, child.output()
    return raw.body.decode()


def measured(act: Callable[[], Any]) -> float:
    """Return the seconds which `act` takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began
