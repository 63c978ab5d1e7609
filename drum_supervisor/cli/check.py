"""`drum-supervise check`: whether the model can be initialized, how long that takes, and how much memory."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from drum_supervisor.cli.operate import PROGRESS_EVERY
from drum_supervisor.cli.options import as_arguments, chosen, settings_options
from drum_supervisor.cli.tables import duration, failure_text
from drum_supervisor.cli.target import json_option, watched
from drum_supervisor.config.declaration import Value
from drum_supervisor.config.parsers import size
from drum_supervisor.config.settings import OFF, Settings, resolve
from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import FailureReport, read_failure
from drum_supervisor.contract.listener import Address, parse_address

PING_SECONDS = 30.0
LONGEST_BODY = 1000
_RUN = "run"

# One attempt, whose end is the end: the exit code is that of its cause.
_ONCE = {
    "with_error_server": "false",
    "max_restarts": "0",
    "while_starting": "hold",
    "termination_log": os.devnull,
    "metrics_address": OFF,
}


@dataclass(frozen=True)
class Ping:
    """The answer to GET /ping, or to --ready-path; the body is cut after a thousand characters."""

    path: str
    status: int
    body: str


@dataclass(frozen=True)
class Checked:
    """What was found of a model server that is ready.

    Attributes:
        seconds: from its start until it was ready.
        peak_memory_bytes: the most that each of its processes had resident until then, added up.
        ping: None if there was no answer.
    """

    seconds: float
    peak_memory_bytes: int
    ping: Ping | None

    @property
    def exit_code(self) -> int:
        """A server that is ready and does not answer probes would be killed for that later."""
        return ExitCode.STOPPED if self.ping is not None and self.ping.status < 500 else 1


@click.command("check", params=settings_options(), context_settings={"allow_interspersed_args": False})
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def check_command(command: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Initialize the model, say how long that takes and how much memory, ask for /ping, and stop it again.

    Takes the options of start; made for a CI job, or a step of an image's build. What the model server prints goes to
    stderr. If it inherits the listener, it gets a free port of the loopback interface, unless there is an --address.

    Exit code: 0, or that of the cause as start has it; 1 if it is ready and does not answer.
    """
    values = chosen(given, command)
    with ExitStack() as stack:
        stack.enter_context(_ended_by_term())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drum-check-")))
        notifications = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notifications.bind(str(folder / "notify"))
        process = _start(values, command, folder)
        stack.callback(_end, process)
        if _await_ready(process, notifications):
            found = _look(folder / _RUN, resolve(values))
            if found is not None:
                return _tell(found, as_json)
        return _tell_failure(read_failure(folder / _RUN / "failure.json"), process.wait(), as_json)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """Let TERM end us like Ctrl-C, so that nothing is left."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(values: Mapping[str, Value], command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start a supervisor, which tells us how it stands as it would tell systemd."""
    flags = {name: value.text for name, value in values.items() if value.source == "flag"}
    if "address" not in flags and _inherits(values, command):
        flags["address"] = "127.0.0.1:0"
    flags = {"log_level": "error", **flags, **_ONCE, "run_dir": str(folder / _RUN)}
    argv = [sys.executable, "-m", "drum_supervisor", "start", *as_arguments(flags), "--", *command]
    environ = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
    return subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())


def _inherits(values: Mapping[str, Value], command: Sequence[str]) -> bool:
    from drum_supervisor.supervise.programs.command import choose_command
    from drum_supervisor.supervise.programs.plan import is_listener_shared

    settings = resolve(values)
    return is_listener_shared(settings, choose_command(settings, command, os.environ))


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", notifications: socket.socket) -> bool:
    """Return whether the model server is ready, or its supervisor has ended; meanwhile say how far it is."""
    began, words = time.monotonic(), "starting"
    poller = select.poll()
    poller.register(notifications, select.POLLIN)
    end = watched(process.pid)
    if end is not None:
        poller.register(end, select.POLLIN)
    try:
        while process.poll() is None:
            if not poller.poll(PROGRESS_EVERY * 1000):
                click.echo(f"{words}, {time.monotonic() - began:.0f} s ...", err=True)
            for line in _received(notifications):
                if line == "READY=1":
                    return True
                words = line.removeprefix("STATUS=")
        return False
    finally:
        if end is not None:
            os.close(end)


def _received(notifications: socket.socket) -> Iterator[str]:
    with suppress(BlockingIOError):
        while True:
            yield from notifications.recv(4096, socket.MSG_DONTWAIT).decode("utf-8", "replace").splitlines()


def _look(run_dir: Path, settings: Settings) -> Checked | None:
    """Look at a model server that is ready; None if it has died since, and its supervisor with it."""
    from drum_supervisor.contract.control_client import Client, ControlError

    try:
        status = Client(run_dir / "supervisor.sock").status()
    except ControlError:
        return None
    ready = [program for program in status["programs"] if program["state"] == "ready"]
    seconds = min((program["uptime_s"] for program in ready), default=0.0)
    memory = sum(_peak(program["pid"]) for program in ready)
    path = settings.url_prefix + (settings.ready_path or "/ping")
    return Checked(seconds, memory, _ping(parse_address(status["address"]), path))


def _peak(pid: int) -> int:
    """Return the most memory that each process of a tree had resident, added up (VmHWM, proc_pid_status(5))."""
    from drum_supervisor.resources.proctree import descendants

    total = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):
            fields = dict(line.partition(":")[::2] for line in Path(f"/proc/{each}/status").read_text().splitlines())
            total += int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    return total


def _ping(address: Address, path: str) -> Ping | None:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(str(address), timeout=PING_SECONDS)
    connection.sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(PING_SECONDS)
        connection.sock.connect(address.path or (address.client_host, address.port))
        connection.request("GET", path)
        answer = connection.getresponse()
        return Ping(path, answer.status, answer.read(LONGEST_BODY).decode("utf-8", "replace").strip())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _tell(found: Checked, as_json: bool) -> int:
    if as_json:
        click.echo(
            json.dumps({"ready": True, **asdict(found), "failure": None, "exit_code": found.exit_code}, indent=2)
        )
        return found.exit_code
    click.echo(f"Ready after {duration(found.seconds)}, peak memory {size(found.peak_memory_bytes)}.")
    answer = f"GET {found.ping.path}: {found.ping.status} {found.ping.body}" if found.ping else "It does not answer."
    click.echo(answer)
    return found.exit_code


def _tell_failure(report: FailureReport | None, code: int, as_json: bool) -> int:
    """Without a report it did not come so far as to start anything: the supervisor has said why."""
    if as_json:
        facts = {"ready": False, "seconds": report.seconds if report else None}
        memory = {"peak_memory_bytes": report.peak_memory_bytes if report else None, "ping": None}
        failure = {"failure": report.to_json() if report else None, "exit_code": code}
        click.echo(json.dumps({**facts, **memory, **failure}, indent=2))
    elif report is not None:
        click.echo(failure_text(report))
    return code
