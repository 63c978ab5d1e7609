"""The built-in model server: loads the user's model, then serves it.

`python -m drum_supervisor.serve.model --code-dir DIR --target-type TYPE --server-type TYPE --address ADDRESS ...`
"""

import io
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode
from drum_supervisor.contract.report import Reporter
from drum_supervisor.hosts import frameworks
from drum_supervisor.hosts.process import Stopped, StopSignals, drain_seconds, take_listener
from drum_supervisor.hosts.progress import Progress
from drum_supervisor.model.loading import load
from drum_supervisor.services.model import ModelService
from drum_supervisor.settings import Settings, from_arguments

# The last stage: importing the framework, and the start of the application.
STARTING_SERVER = "starting the server"


def main() -> None:
    """Serve until a stop is asked for."""
    stop = StopSignals()
    stop.install()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    stop.leave(run(sys.argv[1:], stop, Reporter.from_environment(os.environ)))


def run(argv: Sequence[str], stop: StopSignals, reporter: Reporter) -> int:
    """Load and serve the model; return the exit code."""
    progress = Progress(reporter.send)
    try:
        settings, _ = from_arguments(argv)
        listener = take_listener(settings.address)
    except DrumSupervisorError as error:
        progress.fail(error)
        return error.exit_code
    try:
        with listener:
            return _SERVE[settings.server_type](settings, listener, stop, reporter, progress)
    except (Stopped, KeyboardInterrupt):
        return ExitCode.STOPPED
    except BaseException as error:  # noqa: BLE001 - the border to the user's code
        return _failed(error, stop, progress)


def _failed(error: BaseException, stop: StopSignals, progress: Progress) -> int:
    if progress.is_ready:
        traceback.print_exception(error)
        return ExitCode.INTERNAL
    if stop.requested:
        return ExitCode.STOPPED  # the user's code has made another exception of the stop
    progress.fail(error)
    return ExitCode.INIT_FAILED


def _load(settings: Settings, progress: Progress) -> ModelService:
    service = ModelService(load(settings, progress.reach), settings)
    progress.reach(STARTING_SERVER)
    return service


def _serve_here(
    settings: Settings, listener: socket.socket, stop: StopSignals, reporter: Reporter, progress: Progress
) -> int:
    """Serve in this process."""
    framework = frameworks.flask if settings.server_type == "flask" else frameworks.fastapi
    with _initialization(stop, progress) as on_ready:
        serve = framework(_load(settings, progress))
        serve(listener, stop, on_ready, drain_seconds(settings.stop_timeout))
    return ExitCode.STOPPED


def _serve_gunicorn(
    settings: Settings, listener: socket.socket, stop: StopSignals, reporter: Reporter, progress: Progress
) -> int:
    with stop.ending_at_once():  # until gunicorn has taken the signals
        from drum_supervisor.fronts import flask_front  # noqa: PLC0415
        from drum_supervisor.hosts import gunicorn_host  # noqa: PLC0415

        options = gunicorn_host.Options(settings.workers, drain_seconds(settings.stop_timeout), settings.backlog)
        return gunicorn_host.serve(
            lambda worker: flask_front.create_app(_load(settings, worker)), listener, reporter.send, options
        )


@contextmanager
def _initialization(stop: StopSignals, progress: Progress) -> Iterator[Callable[[], None]]:
    """Let a stop end the process at once, until the function that is given is called: it is ready."""
    with ExitStack() as stack:
        stack.enter_context(stop.ending_at_once())

        def on_ready() -> None:
            stop.install()  # the user's code may have taken the signals
            stack.close()
            progress.become_ready()

        yield on_ready


_SERVE: dict[str, Callable[[Settings, socket.socket, StopSignals, Reporter, Progress], int]] = {
    "fastapi": _serve_here,
    "flask": _serve_here,
    "gunicorn": _serve_gunicorn,
}


if __name__ == "__main__":
    main()
