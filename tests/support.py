"""Tools for tests of real processes: waiting with a limit, and a supervisor under test."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from drum_supervisor.contract.control_client import ControlClient, ControlError
from drum_supervisor.contract.json_records import to_json
from drum_supervisor.contract.listener import Address, parse_address
from drum_supervisor.resources.stats import FullStats

TIMEOUT = 60.0 if os.environ.get("CI") else 30.0
MARK = "DRUM_SUPERVISOR_TEST_MARK"

T = TypeVar("T")


def until(probe: Callable[[], T], process: "subprocess.Popen[Any] | None" = None, tail: Callable[[], str] = str) -> T:
    """Return the first true value of `probe`; fail after TIMEOUT, or as soon as `process` has exited."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        has_exited = process is not None and process.poll() is not None
        value = probe()
        if value:
            return value
        if has_exited or time.monotonic() > deadline:
            why = f"exit status {process.returncode}" if has_exited and process else f"not within {TIMEOUT:g} s"
            raise AssertionError(f"{why}; last value: {value!r}; output:\n{tail()}")
        pause(process)


def as_json(record: object) -> dict[str, Any]:
    """Return the JSON of a record, parsed."""
    return dict(json.loads(to_json(record)))


def pause(process: "subprocess.Popen[Any] | None") -> None:
    """Wait a moment, or until `process` exits."""
    try:
        if process is not None:
            process.wait(0.02)
            return
    except subprocess.TimeoutExpired:
        return
    signal.sigtimedwait([], 0.02)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


def answer(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a connection, then close the connection."""
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


class Supervised:
    """A real `drum-supervise start` with its output in files.

    Args:
        folder: empty; for the output and the run directory.
        arguments: those after `start`.
        environ: added to a clean environment.
        before: called in the new process before it becomes the supervisor.
        wrapper: a command that runs the supervisor, for example in a namespace.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        command: str = "start",
        before: Callable[[], None] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.run_dir = folder / "run"
        self.out, self.err = folder / "out.log", folder / "err.log"
        self.mark = uuid.uuid4().hex
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("DRUM_", "MLOPS_", "LISTEN_"))
        }
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            ours = [sys.executable, "-m", "drum_supervisor", command, "--run-dir", str(self.run_dir), *arguments]
            self.process = subprocess.Popen(
                [*wrapper, *ours],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=before,  # noqa: PLW1509 - it only writes one file
                env={**clean, **environ, MARK: self.mark},
            )

    # --- looking

    def output(self) -> str:
        return f"--- stdout\n{self.out.read_text()[-4000:]}\n--- stderr\n{self.err.read_text()[-12000:]}"

    @property
    def address(self) -> Address:
        path = self.run_dir / "address"
        return parse_address(self.until(lambda: path.read_text().strip() if path.exists() else ""))

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.run_dir / "supervisor.sock", timeout=TIMEOUT)

    def until(self, probe: Callable[[], T]) -> T:
        return until(probe, self.process, self.output)

    def status(self) -> dict[str, Any]:
        """Return what `status --json` prints, waiting until the supervisor answers."""
        found: list[dict[str, Any]] = []

        def ask() -> bool:
            try:
                found.append(as_json(self.client.status()))
            except ControlError:
                return False
            return True

        self.until(ask)
        return found[-1]

    def stats(self, **options: Any) -> dict[str, Any]:
        """Return what `stats --json` prints, without what only the command can read."""
        return as_json(self.client.stats(FullStats, **options))

    def until_status(self, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first status that meets the condition, by long polling."""
        deadline = time.monotonic() + TIMEOUT
        status = self.status()
        while not met(status):
            assert time.monotonic() < deadline, f"last status: {json.dumps(status, indent=1)}\n{self.output()}"
            try:
                status = as_json(self.client.wait(status["serial"], 1.0))
            except ControlError as error:
                raise AssertionError(f"{error}\n{self.output()}") from error
        return status

    def until_phase(self, *phases: str) -> dict[str, Any]:
        return self.until_status(lambda status: status["phase"] in phases)

    def pid(self, program: str = "model-server") -> int:
        return next(int(entry["pid"]) for entry in self.status()["programs"] if entry["name"] == program)

    def left(self) -> list[psutil.Process]:
        """Return all running processes that descend from this supervisor, itself included."""
        return [process for process in psutil.process_iter() if _has_mark(process, self.mark)]

    # --- acting

    def connect(self) -> socket.socket:
        address = self.address
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(address.path or (address.client_host, address.port))
        except OSError:
            sock.close()
            raise
        return sock

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("test", timeout=TIMEOUT)
        connection.sock = self.connect()
        return answer(connection, method, path, body, headers)

    def get(self, path: str) -> Answer:
        return self.request("GET", path)

    def post(self, path: str, body: bytes, content_type: str = "text/csv") -> Answer:
        return self.request("POST", path, body, {"Content-Type": content_type})

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run another drum-supervise command against this supervisor."""
        argv = [sys.executable, "-m", "drum_supervisor", command[0], "--run-dir", str(self.run_dir), *command[1:]]
        return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def wait(self) -> int:
        """Wait until the supervisor exits; return its exit code."""
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running\n{self.output()}") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """Kill the supervisor, and wait until none of its processes is left."""
        seen = self.left()  # its guard is about to exec, and during an exec its environment cannot be read
        self.process.kill()
        self.wait()
        assert not psutil.wait_procs(seen, TIMEOUT)[1], self.output()
        until(lambda: not self.left())

    @property
    def last_line(self) -> str:
        return self.err.read_text().splitlines()[-1]

    def close(self) -> None:
        """Kill everything; fail if the supervisor had exited and left a process running."""
        had_exited = self.process.poll() is not None
        left = self.left()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=TIMEOUT)
        self.process.wait(TIMEOUT)
        assert not (had_exited and left), f"left running: {left}\n{self.output()}"


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
