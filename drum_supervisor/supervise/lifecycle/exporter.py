"""The metrics exporter: whether there is one, its listener, and its restarts.

It is independent of the service: the policy does not know it, and neither readiness nor the exit code depends on it.
"""

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import address_of, bind, close
from drum_supervisor.contract.report_pipe import Message, ReadyMessage
from drum_supervisor.otel.environment import exports_metrics
from drum_supervisor.supervise.failures.evidence import describe_exit
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.processes.launcher import Launcher
from drum_supervisor.supervise.programs.plan import python_command
from drum_supervisor.supervise.programs.program import EXPORTER, Program, Programs
from drum_supervisor.supervise.service.context import Context, TrackedRun
from drum_supervisor.supervise.stats.sampler import Sampler

BACKLOG = 128
FIRST_START_DELAY = 0.1  # seconds: the model server starts first
MIN_DELAY, MAX_DELAY = 1.0, 60.0
EARLY_EXIT_SECONDS = 60.0  # a later exit resets the back-off

_FOR_PROMETHEUS = "prometheus_client"
_FOR_OTLP = "opentelemetry.exporter.otlp.proto.http"


def with_exporter(found: Programs, settings: Settings, environ: Mapping[str, str], run_dir: RunDir) -> Programs:
    """Return the programs, with the exporter if metrics are offered on an address or sent to a collector.

    Raises:
        UsageError: there is an address, but prometheus_client is not installed.
    """
    if settings.metrics_address and not _is_installed(_FOR_PROMETHEUS):
        raise UsageError(
            f"--metrics-address {settings.metrics_address}: metrics need {_FOR_PROMETHEUS}, which is not installed: "
            "pip install 'drum_supervisor[metrics]'."
        )
    sends = exports_metrics(environ) and _is_installed(_FOR_OTLP)
    if not settings.metrics_address and not sends:
        return found
    argv = (
        *python_command("serve.exporter"),
        "--socket",
        str(run_dir.socket),
        "--stop-timeout",
        f"{settings.stop_timeout:g}",
    )
    return replace(found, exporter=Program(EXPORTER, EXPORTER, argv))


def _is_installed(module: str) -> bool:
    """Look for a module without importing it; OpenTelemetry's parent packages have no code."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def bind_metrics(settings: Settings, run_dir: RunDir, log: Log, stack: ExitStack) -> socket.socket | None:
    """Bind --metrics-address, if there is one, and log it."""
    if settings.metrics_address is None:
        return None
    listener = bind(settings.metrics_address, BACKLOG, "--metrics-address")
    stack.callback(close, listener, settings.metrics_address)
    address = address_of(listener)
    run_dir.write(run_dir.metrics_address, f"{address}\n")
    log.information(f"metrics on {address.url()}/metrics", metrics_address=str(address))
    return listener


class Exporter:
    """Handles the events of the exporter, and restarts it for ever.

    While it is not running, connections wait in the backlog of its listener; without one it only sends metrics.
    """

    def __init__(
        self, context: Context, launcher: Launcher, sampler: Sampler, program: Program, listener: socket.socket | None
    ) -> None:
        self._context = context
        self._launcher = launcher
        self._sampler = sampler
        self._program = program
        self._listener = listener
        self._early_exits = 0
        context.timers.set(self, FIRST_START_DELAY, self._start)

    def on_start(self, tracked: TrackedRun) -> None:
        run = tracked.run
        self._context.waiters.note_change()
        if run.spawn_error:
            self._restart_later(tracked, f"could not be started: {run.spawn_error}")
        else:
            self._context.log.information(f"{run.label} started", program=EXPORTER, pid=run.pid)

    def on_message(self, tracked: TrackedRun, message: Message) -> None:
        if isinstance(message, ReadyMessage):
            tracked.ready = True
            self._context.waiters.note_change()

    def on_exit(self, tracked: TrackedRun) -> None:
        run = tracked.run
        self._sampler.record_exit(EXPORTER, run.pid, run.cpu_seconds)
        if run.stop_requested:
            self._context.log.information(f"{run.label} stopped as requested: {describe_exit(run.status)}", pid=run.pid)
        else:
            self._restart_later(tracked, describe_exit(run.status))

    def _start(self) -> None:
        if not self._context.service.is_stopping:
            self.on_start(self._launcher.start_at_once(self._program, self._listener))

    def _restart_later(self, tracked: TrackedRun, reason: str) -> None:
        run = tracked.run
        lifetime = self._context.now() - run.started
        self._early_exits = 1 if lifetime > EARLY_EXIT_SECONDS else self._early_exits + 1
        delay = restart_delay(self._early_exits)
        self._context.log.warning(f"{run.label} {reason}; restarting it in {delay:g} s", pid=run.pid)
        self._context.timers.set(self, delay, self._start)


def restart_delay(early_exits: int) -> float:
    """Return the seconds before the next start after some early exits in a row."""
    return min(MIN_DELAY * 2.0 ** min(early_exits - 1, 60), MAX_DELAY)
