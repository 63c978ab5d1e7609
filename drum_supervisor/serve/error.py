"""The error server: answers with the failure of the model server, in a process of its own.

`python -m drum_supervisor.serve.error --report FILE [--situation FILE] --server-type TYPE --address ADDRESS ...
[--plain true] [--starting true]`

It uses the framework of the model server. If that fails to start, or with `--plain true`, it uses the standard library.
With `--starting true` it is the stand-in: before a failure it answers that the model server is starting. The stand-in
must start quickly, so it is always plain.
"""

import os
import sys
from collections.abc import Callable, Sequence

from drum_supervisor.config.settings import from_arguments
from drum_supervisor.contract.client_status import ClientStatusFile
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.servers import asyncio_server, frameworks
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.process import ServerConfig, Stopped, StopSignals, drain_seconds, log_line, take_listener
from drum_supervisor.services.failure import FailureService, ReportFile
from drum_supervisor.services.starting import StartingService


def main() -> None:
    stop = StopSignals()
    stop.install()
    stop.exit(run(sys.argv[1:], stop, InitReport.from_environment(os.environ)))


def run(argv: Sequence[str], stop: StopSignals, init_report: InitReport) -> int:
    """Serve the failure; return the exit code."""
    try:
        settings, others = from_arguments(argv)
        if "report" not in others:
            raise UsageError("--report FILE is missing: the failure to answer with.")
        report, client_status = ReportFile(others["report"]), ClientStatusFile(others.get("situation", ""))
        service = FailureService(
            report, settings.error_detail, settings.failed_ping, settings.url_prefix, client_status
        )
        with take_listener(settings.address) as listener:
            config = ServerConfig(listener, stop, init_report.report_ready, drain_seconds(settings.stop_timeout))
            if "starting" in others:
                asyncio_server.serve(StartingService(service, client_status, settings.url_prefix), config)
            elif "plain" in others or not _serve_with_framework(settings.server_type, service, config, init_report):
                asyncio_server.serve(service, config)
    except Stopped:
        return ExitCode.STOPPED
    except DrumSupervisorError as error:
        log_line(f"error-server: {error}")
        return error.exit_code
    return ExitCode.STOPPED


def _serve_with_framework(
    server_type: str, service: FailureService, config: ServerConfig, init_report: InitReport
) -> bool:
    """Serve with the framework of `server_type`; return whether it started."""
    try:
        with config.stop.raise_on_stop():
            front, server = _FRAMEWORKS[server_type]()
            app = front.create_app(service)
        server.serve(app, config)
    except (Exception, SystemExit) as error:
        if init_report.is_ready:
            raise
        why = f"{type(error).__name__}: {error}"
        log_line(f"error-server: {server_type} cannot be used ({why}); the standard library answers instead.")
        return False
    return True


# not gunicorn: master and worker would be two processes for the same responses
_FRAMEWORKS: dict[str, Callable[[], tuple[frameworks.Front, frameworks.Server]]] = {
    "fastapi": frameworks.fastapi,
    "flask": frameworks.flask,
    "gunicorn": frameworks.flask,
    "drum": frameworks.flask,
}


if __name__ == "__main__":
    main()
