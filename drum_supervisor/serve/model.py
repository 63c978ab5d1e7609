"""The built-in model server: loads the user's model and serves it.

`python -m drum_supervisor.serve.model --code-dir DIR --target-type TYPE --server-type TYPE --address ADDRESS ...`
"""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from drum_supervisor.config import gunicorn
from drum_supervisor.config.settings import Settings, from_arguments
from drum_supervisor.contract.exits import AddressError, ExitCode, UsageError
from drum_supervisor.otel.environment import is_enabled
from drum_supervisor.runtime import CMRunner, DrumRuntime, finish_seconds
from drum_supervisor.servers import logs
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.process import EXIT_SECONDS, Stopped, StopSignals, drain_seconds, take_listener
from drum_supervisor.worker_context import WorkerCtx

# The context of a worker cleans up the runtime last.
_LAST = -100


def main() -> None:
    stop = StopSignals()
    stop.install()
    logs.set_up()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    stop.exit(run(sys.argv[1:], stop, InitReport.from_environment(os.environ)))


def run(argv: Sequence[str], stop: StopSignals, init_report: InitReport) -> int:
    """Load and serve the model; return the exit code."""
    try:
        settings, _ = from_arguments(argv)
    except UsageError as error:
        init_report.fail(error)
        return error.exit_code
    try:
        serve = _serve_gunicorn if settings.server_type == "gunicorn" else _serve_here
        return serve(settings, stop, init_report)
    except (Stopped, KeyboardInterrupt):
        return ExitCode.STOPPED
    except BaseException as error:  # noqa: BLE001 - the border to the user's code
        return _exit_code(error, stop, init_report)


def _exit_code(error: BaseException, stop: StopSignals, init_report: InitReport) -> int:
    if init_report.is_ready:
        traceback.print_exception(error)
        return ExitCode.INTERNAL
    if stop.requested:
        return ExitCode.STOPPED  # the user's code has replaced Stopped by another exception
    init_report.fail(error)
    return error.exit_code if isinstance(error, AddressError) else ExitCode.INIT_FAILED


def _serve_here(settings: Settings, stop: StopSignals, init_report: InitReport) -> int:
    with DrumRuntime(progress=init_report, stop=stop) as runtime:
        runtime.options = settings
        runtime.cm_runner = CMRunner(runtime)
        runtime.cm_runner.run()
    return ExitCode.STOPPED


def _serve_gunicorn(settings: Settings, stop: StopSignals, init_report: InitReport) -> int:
    listener = take_listener(settings.address)
    with stop.raise_on_stop():  # until gunicorn installs its handlers
        from drum_supervisor.servers.gunicorn import server  # noqa: PLC0415

        finish = EXIT_SECONDS + (finish_seconds(settings) if is_enabled(os.environ) else 0.0)
        options = server.Options(
            drain_seconds(settings.stop_timeout, finish),
            finish_seconds=finish,
            parameters=_gunicorn_parameters(settings),
        )
        return server.serve(partial(_load_in_worker, settings), listener, init_report.send, options)


def _gunicorn_parameters(settings: Settings) -> gunicorn.GunicornParameters:
    given = gunicorn.read_parameters(os.environ, ignored=gunicorn.SHARED_SETTINGS)
    shared = replace(given, workers=settings.workers, backlog=settings.backlog)
    limit = settings.max_requests  # gunicorn's master recycles its workers itself
    return replace(shared, max_requests=limit, max_requests_jitter=limit // 10) if limit else shared


def _load_in_worker(settings: Settings, init_report: InitReport, context: WorkerCtx) -> Any:
    """Return the application, in a gunicorn worker; its context closes the runtime."""
    from drum_supervisor.fronts import flask_front  # noqa: PLC0415

    with ExitStack() as stack:
        app = flask_front.new_app()
        runtime = stack.enter_context(DrumRuntime(app, progress=init_report))
        runtime.options = settings
        runtime.cm_runner = CMRunner(runtime, app, context)
        runtime.cm_runner.run()
        context.defer_cleanup(stack.pop_all().close, order=_LAST, desc="runtime")
    return app


if __name__ == "__main__":
    main()
