"""`drum-supervise check`: load the model once; report the time, the peak memory and the answer to /ping."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from drum_supervisor.cli.options import choose_values, settings_options, to_arguments
from drum_supervisor.cli.tables import failure_text, ready_text
from drum_supervisor.cli.target import PROGRESS_INTERVAL, connect, json_option, open_pidfd
from drum_supervisor.config.settings import OFF, Settings, resolve
from drum_supervisor.contract.exits import DrumSupervisorError
from drum_supervisor.contract.failure_report import FailureReport, read_failure
from drum_supervisor.contract.json_records import to_json

PING_TIMEOUT = 30.0
MAX_BODY_BYTES = 1000
_RUN, _REASON = "run", "reason"  # in the temporary folder

# One attempt, after which the supervisor exits with the code of the cause.
_ONE_ATTEMPT = {
    "with_error_server": "false",
    "max_restarts": "0",
    "while_starting": "hold",
    "metrics_address": OFF,
}


@dataclass(frozen=True)
class Ping:
    """The answer to GET /ping or --ready-path; `body` has at most MAX_BODY_BYTES bytes of it."""

    path: str
    status: int
    body: str


@dataclass(frozen=True)
class CheckResult:
    """What `check` prints.

    Attributes:
        seconds: from the start of the model server until it was ready, or until it failed.
        peak_memory_bytes: the sum of the peak resident memory of each of its processes.
        ping: None without an answer.
        failure: None also for a supervisor that could not start the model server.
        error: one line, of the failure or of what is wrong with the settings; None without one.
    """

    ready: bool = False
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    ping: Ping | None = None
    failure: FailureReport | None = None
    exit_code: int = 0
    error: str | None = None


@click.command("check", params=settings_options(), context_settings={"allow_interspersed_args": False})
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def check_command(command: tuple[str, ...], as_json: bool, **given: Any) -> int:
    """Load the model once and report whether it works.

    Reports the time, the peak memory and the answer to /ping, or the failure. Takes the options of start. Made for a CI
    job, or a step of an image build. The output of the model server goes to stderr. A model server that inherits the
    listener gets a free port of the loopback interface, unless --address is given.

    Exit code: 0, or the code of the cause as for start; 1 if the model server is ready and does not answer.
    """
    try:
        result = _check(given, command)
    except DrumSupervisorError as error:  # in the settings: nothing was started
        if as_json:
            click.echo(to_json(CheckResult(exit_code=error.exit_code, error=str(error)), indent=2))
        raise
    return _report(result, as_json)


def _check(given: Mapping[str, Any], command: Sequence[str]) -> CheckResult:
    values = choose_values(given, command)
    flags = {name: value.text for name, value in values.items() if value.source == "flag"}
    if "address" not in flags and _inherits_listener(resolve(values), command):
        flags["address"] = "127.0.0.1:0"
    with ExitStack() as stack:
        stack.enter_context(_interrupted_by_term())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drum-check-")))
        notifications = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notifications.bind(str(folder / "notify"))
        process = _start(flags, command, folder)
        stack.callback(_stop, process)
        result = _inspect(folder / _RUN, resolve(values)) if _await_ready(process, notifications) else None
        return result or _failure_result(folder, process.wait())


def _inherits_listener(settings: Settings, command: Sequence[str]) -> bool:
    from drum_supervisor.supervise.programs.launch import plan_launch

    return plan_launch(settings, command, os.environ).shares_listener


@contextmanager
def _interrupted_by_term() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, like Ctrl-C, so that nothing is left behind."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(flags: Mapping[str, str], command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start a supervisor that reports its state as it would to systemd."""
    reason = folder / _REASON
    reason.touch()  # only an existing file gets the termination message
    ours = {**_ONE_ATTEMPT, "run_dir": str(folder / _RUN), "termination_log": str(reason)}
    flags = {"log_level": "error", **flags, **ours}
    argv = [sys.executable, "-m", "drum_supervisor", "start", *to_arguments(flags), "--", *command]
    environ = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify")}
    return subprocess.Popen(argv, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait()


def _await_ready(process: "subprocess.Popen[bytes]", notifications: socket.socket) -> bool:
    """Report progress until the model server is ready or its supervisor has exited; return whether it is ready."""
    began, state = time.monotonic(), "starting"
    poller = select.poll()
    poller.register(notifications, select.POLLIN)
    pidfd = open_pidfd(process.pid)
    if pidfd is not None:
        poller.register(pidfd, select.POLLIN)
    try:
        while process.poll() is None:
            if not poller.poll(PROGRESS_INTERVAL * 1000):
                click.echo(f"{state}, {time.monotonic() - began:.0f} s ...", err=True)
            for line in _receive_lines(notifications):
                if line == "READY=1":
                    return True
                state = line.removeprefix("STATUS=")
        return False
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _receive_lines(notifications: socket.socket) -> Iterator[str]:
    with suppress(BlockingIOError):
        while True:
            yield from notifications.recv(4096, socket.MSG_DONTWAIT).decode("utf-8", "replace").splitlines()


def _inspect(run_dir: Path, settings: Settings) -> CheckResult | None:
    """Return the result for a ready model server; None if it has died since, and its supervisor with it."""
    try:
        status = connect(str(run_dir)).status()
    except DrumSupervisorError:
        return None
    ready = [program for program in status.programs if program.state == "ready"]
    seconds = min((program.uptime_s for program in ready if program.uptime_s is not None), default=0.0)
    peak = sum(_peak_memory(program.pid) for program in ready if program.pid is not None)
    ping = _ping(status.address, settings.url_prefix + (settings.ready_path or "/ping"))
    answers = ping is not None and ping.status < 500  # a platform would kill a server that fails its probes
    return CheckResult(True, seconds, peak, ping, exit_code=0 if answers else 1)


def _peak_memory(pid: int) -> int:
    """Return the peak resident memory of each process of a tree, added up (VmHWM, proc_pid_status(5))."""
    from drum_supervisor.resources.proctree import descendants

    total = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):
            fields = dict(line.partition(":")[::2] for line in Path(f"/proc/{each}/status").read_text().splitlines())
            total += int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    return total


def _ping(address: str, path: str) -> Ping | None:
    from http.client import HTTPConnection, HTTPException

    from drum_supervisor.contract.control_client import UnixConnection

    is_unix = address.startswith("unix:")
    connection = (UnixConnection if is_unix else HTTPConnection)(address.removeprefix("unix:"), timeout=PING_TIMEOUT)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return Ping(path, answer.status, answer.read(MAX_BODY_BYTES).decode("utf-8", "replace").strip())
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _failure_result(folder: Path, exit_code: int) -> CheckResult:
    report = read_failure(folder / _RUN / "failure.json")
    if report is None:
        return CheckResult(exit_code=exit_code, error=(folder / _REASON).read_text(encoding="utf-8") or None)
    return CheckResult(
        seconds=report.seconds,
        peak_memory_bytes=report.peak_memory_bytes,
        failure=report,
        exit_code=exit_code,
        error=report.error,
    )


def _report(result: CheckResult, as_json: bool) -> int:
    if as_json:
        click.echo(to_json(result, indent=2))
    elif result.ready:
        click.echo(ready_text(result.seconds or 0.0, result.peak_memory_bytes or 0))
        ping = result.ping
        click.echo(f"GET {ping.path}: {ping.status} {ping.body}" if ping else "It does not answer.")
    elif result.failure is not None:  # without a report the supervisor has printed the reason
        click.echo(failure_text(result.failure))
    return result.exit_code
