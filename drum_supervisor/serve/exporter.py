"""The exporter: offers the supervisor's metrics to Prometheus, and sends them to a collector of OpenTelemetry.

`python -m drum_supervisor.serve.exporter --socket PATH [--stop-timeout S]`

It offers them on the listener that it inherits; without one it only sends. What it knows it asks the supervisor for.
"""

import os
import select
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from drum_supervisor.config import parsers
from drum_supervisor.contract.control_client import Client
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.contract.listener import inherit_listener
from drum_supervisor.contract.report_pipe import Ready, Reporter
from drum_supervisor.metrics.source import TIMEOUT, MetricsSource
from drum_supervisor.otel.environment import sends_metrics
from drum_supervisor.resources.gpu import Gpu, Gpus
from drum_supervisor.servers import selector_server
from drum_supervisor.servers.process import StopSignals, drain_seconds, tell
from drum_supervisor.services.metrics import MetricsService

MAX_CONNECTIONS = 64  # one more, and the oldest is given up: nobody can keep Prometheus out
HEAD_SECONDS = 5.0


def main() -> None:
    """Serve until a stop is asked for."""
    stop = StopSignals()
    stop.install()
    stop.leave(run(sys.argv[1:], stop, Reporter.from_environment(os.environ)))


def run(argv: Sequence[str], stop: StopSignals, reporter: Reporter) -> int:
    """Offer the metrics, and send them; return the exit code."""
    try:
        with ExitStack() as stack:
            options = dict(zip(argv[::2], argv[1::2], strict=False))
            if "--socket" not in options:
                raise UsageError("--socket PATH is missing: the control socket of the supervisor.")
            source = MetricsSource(Client(Path(options["--socket"]), TIMEOUT).metrics, _gpu_reader(stack))
            if sends_metrics(os.environ):
                _send(source, stack)
            _offer(source, stop, lambda: reporter.send(Ready()), parsers.seconds(options.get("--stop-timeout", "5")))
    except DrumSupervisorError as error:
        tell(f"exporter: {error}")
        return error.exit_code
    return ExitCode.STOPPED


def _offer(source: MetricsSource, stop: StopSignals, on_ready: Callable[[], None], stop_timeout: float) -> None:
    """Serve the metrics until a stop is asked for; without a listener only wait for that."""
    listener = inherit_listener()
    if listener is None:
        on_ready()
        select.select([stop], [], [])
        return
    from drum_supervisor.metrics.exposition import render_metrics  # noqa: PLC0415 - not needed by who only sends

    service = MetricsService(lambda accept: render_metrics(source.snapshot(), accept))
    drain = drain_seconds(stop_timeout)
    with listener:
        selector_server.serve(service, listener, stop, on_ready, drain, MAX_CONNECTIONS, HEAD_SECONDS)


def _send(source: MetricsSource, stack: ExitStack) -> None:
    from drum_supervisor.otel.supervisor_metrics import send  # noqa: PLC0415 - loads OpenTelemetry

    stack.callback(send(source, os.environ))


def _gpu_reader(stack: ExitStack) -> Callable[[frozenset[int]], list[Gpu]]:
    gpus = Gpus.open()
    if gpus is None:
        return lambda pids: []
    stack.callback(gpus.close)
    return gpus.read


if __name__ == "__main__":
    main()
