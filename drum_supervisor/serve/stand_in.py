"""The stand-in: answers while neither model server nor error server is ready. Small, and up at once.

`python -m drum_supervisor.serve.stand_in --address HOST:PORT [--url-prefix PATH] [--stop-timeout S]
[--report FILE [--failed-ping STATUS] [--error-detail none|message|full]]`

It says that the model server is starting, or, when the report is there, why it has failed. The options mean what they
mean in `settings.py`, whose import would take longer than all the rest.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from drum_supervisor import convert
from drum_supervisor.contract.exits import DrumSupervisorError, ExitCode, UsageError
from drum_supervisor.contract.failure import ErrorDetail
from drum_supervisor.contract.listener import parse_address
from drum_supervisor.contract.report import Ready, Reporter
from drum_supervisor.fronts import stdlib_front
from drum_supervisor.hosts.process import StopSignals, drain_seconds, take_listener, tell
from drum_supervisor.services.failure import FailureService, ReportFile
from drum_supervisor.services.messages import Service
from drum_supervisor.services.starting import StartingService

_DEFAULTS = {
    "address": "0.0.0.0:8080",
    "url_prefix": "",
    "stop_timeout": "25",
    "report": "",
    "failed_ping": "200",
    "error_detail": "message",
}


def main() -> None:
    """Serve until a stop is asked for."""
    stop = StopSignals()
    stop.install()
    reporter = Reporter.from_environment(os.environ)
    try:
        options = _options(sys.argv[1:])
        service, timeout = _service(options), convert.seconds(options["stop_timeout"])
        with take_listener(parse_address(options["address"])) as listener:
            stdlib_front.serve(service, listener, stop, lambda: reporter.send(Ready()), drain_seconds(timeout))
    except (DrumSupervisorError, ValueError) as error:
        tell(f"stand-in: {error}")
        stop.leave(getattr(error, "exit_code", ExitCode.USAGE))
    stop.leave(ExitCode.STOPPED)


def _options(argv: Sequence[str]) -> Mapping[str, str]:
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(argv[::2], argv[1::2], strict=False)
    }
    if len(argv) % 2 or not given.keys() <= _DEFAULTS.keys():
        raise UsageError(f"Expected pairs of --option and value, got: {' '.join(argv)}")
    return {**_DEFAULTS, **given}


def _service(options: Mapping[str, str]) -> Service:
    prefix = convert.url_prefix(options["url_prefix"])
    report = Path(options["report"])
    if options["report"] and report.exists():
        detail, ping = ErrorDetail(options["error_detail"]), convert.status_with_body(options["failed_ping"])
        return FailureService(ReportFile(report), error_detail=detail, failed_ping=ping, url_prefix=prefix)
    return StartingService(prefix)


if __name__ == "__main__":
    main()
