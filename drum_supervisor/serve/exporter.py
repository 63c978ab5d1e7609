"""The exporter: serves the supervisor's metrics to Prometheus, and sends them to an OpenTelemetry collector.

`python -m drum_supervisor.serve.exporter --socket PATH [--stop-timeout S]`

It serves on the inherited listener; without one it only sends. It reads the metrics from the control socket.
"""

import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from drum_supervisor.config import parsers
from drum_supervisor.contract.control_client import ControlClient
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.contract.listener import inherit_listener
from drum_supervisor.contract.report_pipe import ReadyMessage, Reporter
from drum_supervisor.metrics.source import TIMEOUT, MetricsSource
from drum_supervisor.otel.environment import exports_metrics
from drum_supervisor.resources.gpu import Gpus
from drum_supervisor.servers import asyncio_server
from drum_supervisor.servers.process import ServerConfig, StopSignals, drain_seconds, log_line
from drum_supervisor.services.metrics import MetricsService

MAX_CONNECTIONS = 64  # with one more, the oldest is closed: idle clients cannot lock Prometheus out
HEAD_SECONDS = 5.0


def main() -> None:
    stop = StopSignals()
    stop.install()
    stop.exit(run(sys.argv[1:], stop, Reporter.from_environment(os.environ)))


def run(argv: Sequence[str], stop: StopSignals, reporter: Reporter) -> int:
    """Serve and send the metrics until a stop is requested; return the exit code."""
    try:
        with ExitStack() as stack:
            options = dict(zip(argv[::2], argv[1::2], strict=False))
            if "--socket" not in options:
                raise UsageError("--socket PATH is missing: the control socket of the supervisor.")
            gpus = Gpus.open()
            if gpus is not None:
                stack.callback(gpus.close)
            client = ControlClient(Path(options["--socket"]), TIMEOUT)
            source = MetricsSource(client.metrics, gpus.read if gpus is not None else lambda pids: [])
            if exports_metrics(os.environ):
                _send(source, stack)
            _serve(
                source, stop, lambda: reporter.send(ReadyMessage()), parsers.seconds(options.get("--stop-timeout", "5"))
            )
    except DrumSupervisorError as error:
        log_line(f"exporter: {error}")
        return error.exit_code
    return ExitCode.STOPPED


def _serve(source: MetricsSource, stop: StopSignals, on_ready: Callable[[], None], stop_timeout: float) -> None:
    """Serve the metrics until a stop is requested; without a listener only wait for it."""
    listener = inherit_listener()
    if listener is None:
        on_ready()
        select.select([stop], [], [])
        return
    from drum_supervisor.metrics.exposition import render_metrics  # noqa: PLC0415 - not needed without a listener

    service = MetricsService(lambda accept: render_metrics(source.snapshot(), accept))
    with listener:
        config = ServerConfig(listener, stop, on_ready, drain_seconds(stop_timeout), HEAD_SECONDS)
        asyncio_server.serve(service, config, MAX_CONNECTIONS)


def _send(source: MetricsSource, stack: ExitStack) -> None:
    from drum_supervisor.otel.supervisor_metrics import send  # noqa: PLC0415 - loads OpenTelemetry

    stack.callback(send(source, os.environ))


if __name__ == "__main__":
    main()
