"""The program that offers the metrics: when there is one, its listener, and how it is kept running.

It is nobody's business: the policy does not know it, readiness does not ask for it, and its end changes nothing for
the service.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec

from drum_supervisor.config.settings import Settings
from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.listener import Address, address_of, bind
from drum_supervisor.contract.report_pipe import BadReportError, Ready, decode
from drum_supervisor.otel.environment import sends_metrics
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.failures.report import ending
from drum_supervisor.supervise.host.run_dir import RunDir
from drum_supervisor.supervise.lifecycle.loop import Loop
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.events import Phase
from drum_supervisor.supervise.programs.plan import python
from drum_supervisor.supervise.programs.program import EXPORTER, Program, Programs

BACKLOG = 128
FIRST_AFTER = 0.1  # seconds: the model server goes first
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONG_ENOUGH = 60.0  # who has lived for so long died of something new

_FOR_PROMETHEUS = "prometheus_client"
_FOR_OTLP = "opentelemetry.exporter.otlp.proto.http"


def with_exporter(found: Programs, settings: Settings, environ: Mapping[str, str], run_dir: RunDir) -> Programs:
    """Return the programs, with the exporter where metrics are wanted: on an address, or by a collector.

    Raises:
        UsageError: they are wanted on an address, and what makes them is not installed.
    """
    if settings.metrics_address and not _is_installed(_FOR_PROMETHEUS):
        raise UsageError(
            f"--metrics-address {settings.metrics_address}: metrics need {_FOR_PROMETHEUS}, which is not installed: "
            "pip install 'drum_supervisor[metrics]'."
        )
    sends = sends_metrics(environ) and _is_installed(_FOR_OTLP)
    if not settings.metrics_address and not sends:
        return found
    argv = (*python("serve.exporter"), "--socket", str(run_dir.socket), "--stop-timeout", f"{settings.stop_timeout:g}")
    return replace(found, exporter=Program(EXPORTER, EXPORTER, argv))


def _is_installed(module: str) -> bool:
    """Look for a module without loading it: the packages above those of OpenTelemetry have no code."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def bind_metrics(settings: Settings, run_dir: RunDir, log: Log, stack: ExitStack) -> socket.socket | None:
    """Bind the listener of the metrics, and say where it is; None without an address for it.

    Raises:
        AddressError: it cannot be bound.
    """
    if settings.metrics_address is None:
        return None
    listener = bind(settings.metrics_address, BACKLOG, "--metrics-address")
    stack.callback(_close, listener, settings.metrics_address)
    address = address_of(listener)
    run_dir.write(run_dir.metrics_address, f"{address}\n")
    log.information(f"metrics on {address.url()}/metrics", metrics_address=str(address))
    return listener


def _close(listener: socket.socket, address: Address) -> None:
    listener.close()
    if address.path:
        with suppress(OSError):
            os.unlink(address.path)


class Exporter:
    """Keeps the exporter running, for ever: an owner of the engine who stands before the one who decides.

    What happens to the exporter ends here, all else is passed on. While it is not there, connections wait in the
    backlog of its listener.

    Args:
        loop: decides about everything else.
        program: the exporter, None where nobody wants metrics.
        listener: where it offers them, None where it only sends them.
    """

    def __init__(self, loop: Loop, program: Program | None, listener: socket.socket | None, log: Log) -> None:
        self._loop = loop
        self._program = program
        self._listener = listener
        self._log = log
        self._early_deaths = 0

    # --- what the engine tells

    def on_begin(self) -> None:
        self._loop.on_begin()
        if self._program is not None:
            self._loop.timers.set(self, FIRST_AFTER, self._start)

    def on_signal(self, number: int) -> None:
        self._loop.on_signal(number)

    def on_line(self, run: Run, line: bytes) -> None:
        if run.program is not self._program:
            self._loop.on_line(run, line)
            return
        with suppress(BadReportError):  # it is ours, and says nothing else
            if isinstance(decode(line), Ready):
                self._loop.fleet.seen[EXPORTER].ready = True
                self._loop.changes.note()

    def on_exit(self, run: Run) -> None:
        if run.program is not self._program:
            self._loop.on_exit(run)
            return
        self._loop.fleet.exited(run)
        self._loop.sampler.ended(EXPORTER, run.pid, run.cpu_seconds)
        self._loop.changes.note()
        if run.stop_asked:
            self._log.information(f"{run.who} stopped as asked: {ending(run.status)}", pid=run.pid)
        else:
            self._lost(run, ending(run.status))

    def on_turn(self) -> None:
        self._loop.on_turn()

    def next_wakeup(self) -> float:
        return self._loop.next_wakeup()

    # --- what is done about it

    def _start(self) -> None:
        if self._program is None or self._loop.state.phase is Phase.STOPPING:
            return
        run = self._loop.fleet.start_beside(self._program, self._listener).run
        self._loop.changes.note()
        if run.spawn_error:
            self._lost(run, f"could not be started: {run.spawn_error}")
        else:
            self._log.information(f"{run.who} started", program=EXPORTER, pid=run.pid)

    def _lost(self, run: Run, why: str) -> None:
        lived = self._loop.timers.clock() - run.started
        self._early_deaths = 1 if lived > LONG_ENOUGH else self._early_deaths + 1
        after = pause(self._early_deaths)
        self._log.warning(f"{run.who} {why}; it is started again in {after:g} s", pid=run.pid)
        self._loop.timers.set(self, after, self._start)


def pause(early_deaths: int) -> float:
    """Return the seconds before another start, after so many deaths in a row that came early."""
    return min(SHORTEST_PAUSE * 2.0 ** min(early_deaths - 1, 60), LONGEST_PAUSE)
