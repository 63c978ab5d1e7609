"""The error server: answers with the failure of the model server, from a process of its own.

`python -m drum_supervisor.serve.error --report FILE [--situation FILE] --server-type TYPE --address ADDRESS ...
[--plain true]`

It uses the framework of the model server. If that cannot be used, or with `--plain true`, the standard library answers.
"""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from drum_supervisor.config.settings import from_arguments
from drum_supervisor.contract.client_status import SituationFile
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.contract.report_pipe import Reporter
from drum_supervisor.http.messages import Service
from drum_supervisor.servers import frameworks, selector_server
from drum_supervisor.servers.init_report import Progress
from drum_supervisor.servers.process import Stopped, StopSignals, drain_seconds, take_listener, tell
from drum_supervisor.services.failure import FailureService, ReportFile


def main() -> None:
    """Serve until a stop is asked for."""
    stop = StopSignals()
    stop.install()
    stop.leave(run(sys.argv[1:], stop, Progress(Reporter.from_environment(os.environ).send)))


def run(argv: Sequence[str], stop: StopSignals, progress: Progress) -> int:
    """Serve the failure; return the exit code."""
    try:
        settings, others = from_arguments(argv)
        if "report" not in others:
            raise UsageError("--report FILE is missing: the failure to answer with.")
        report, situation = ReportFile(Path(others["report"])), SituationFile(others.get("situation", ""))
        service = FailureService(report, settings.error_detail, settings.failed_ping, settings.url_prefix, situation)
        drain = drain_seconds(settings.stop_timeout)
        with take_listener(settings.address) as listener:
            if others.get("plain", "false") == "true" or not _framework_serves(
                settings.server_type, service, listener, stop, progress, drain
            ):
                selector_server.serve(service, listener, stop, progress.become_ready, drain)
    except Stopped:
        return ExitCode.STOPPED
    except DrumSupervisorError as error:
        tell(f"error-server: {error}")
        return error.exit_code
    return ExitCode.STOPPED


def _framework_serves(
    server_type: str,
    service: Service,
    listener: socket.socket,
    stop: StopSignals,
    progress: Progress,
    drain: float,
) -> bool:
    """Serve with the framework of `server_type`; return whether it could be used."""
    try:
        with stop.ending_at_once():
            front, host = _FRAMEWORKS[server_type]()
            app = front.create_app(service)
        host.serve(app, listener, stop, progress.become_ready, drain)
    except (Exception, SystemExit) as error:
        if progress.is_ready:
            raise
        why = f"{type(error).__name__}: {error}"
        tell(f"error-server: {server_type} cannot be used ({why}); the standard library answers instead.")
        return False
    return True


# gunicorn's master and workers would be two processes more for the same answers
_FRAMEWORKS: dict[str, Callable[[], tuple[frameworks.Front, frameworks.Host]]] = {
    "fastapi": frameworks.fastapi,
    "flask": frameworks.flask,
    "gunicorn": frameworks.flask,
    "drum": frameworks.flask,
}


if __name__ == "__main__":
    main()
