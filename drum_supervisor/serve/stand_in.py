"""The stand-in: answers while neither the model server nor the error server is ready. Small and quick to start.

`python -S -m drum_supervisor.serve.stand_in [--situation FILE] [--report FILE] [--url-prefix PATH]
[--failed-ping STATUS] [--error-detail none|message|full]`

It reports that the model server is starting, and its stage. Once `client_status.failed` is set, it gives the error
server's responses. It serves on the supervisor's listener. `config/settings.py` documents the options; neither that
module nor the failure service is loaded before the first response.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from drum_supervisor.contract.client_status import PROGRAM_HEADER, ClientStatus, ClientStatusFile
from drum_supervisor.contract.fds import LISTENER_FD, READY_LINE, REPORT_FD_VARIABLE
from drum_supervisor.servers.standin_server import StandInServer

STARTING = "ERROR: The model server is starting."
STOPPED = "ERROR: The model server was stopped by an operator."
ALIVE = "Starting"
ALIVE_BUT_STOPPED = "Stopped by an operator"

_DEFAULTS = {"situation": "", "report": "", "url_prefix": "", "failed_ping": "200", "error_detail": "message"}
_SWITCH_SECONDS = 0.0005  # the thread which preloads must not delay a response


def main() -> None:
    options = _options(sys.argv[1:])
    responder = Responder(options)
    stop = _take_stop_signals()
    server = StandInServer(socket.socket(fileno=LISTENER_FD), responder)
    _report_ready(os.environ.get(REPORT_FD_VARIABLE, ""))
    _preload(responder.load)
    server.run(stop)
    os._exit(0)  # without waiting for the preloading


class Responder:
    """Returns the whole response to the head of a request."""

    def __init__(self, options: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._read_client_status = ClientStatusFile(options["situation"])
        self._clock = clock
        self._began = clock()
        self._respond_failed: Callable[[bytes], bytes] | None = None
        self._livez = tuple(f"{options['url_prefix']}/livez{slash}".encode() for slash in ("", "/"))

    def __call__(self, head: bytes) -> bytes:
        client_status = self._read_client_status()
        if client_status.failed:
            return (self._respond_failed or self.load())(head)
        method, _, rest = head.partition(b" ")
        is_livez = rest.partition(b" ")[0].partition(b"?")[0] in self._livez
        return _encode_response(
            200 if is_livez else 503, self._content(client_status, is_livez), omit_body=method == b"HEAD"
        )

    def _content(self, client_status: ClientStatus, is_livez: bool) -> Mapping[str, object]:
        if client_status.held:
            return {"message": ALIVE_BUT_STOPPED if is_livez else STOPPED}
        seconds = round(self._clock() - (client_status.since or self._began), 1)
        return {"message": ALIVE if is_livez else STARTING, "stage": client_status.stage, "seconds": seconds}

    def load(self) -> Callable[[bytes], bytes]:
        """Load everything that answers with the failure: the error server without a framework."""
        from drum_supervisor.contract.failure_report import ErrorDetail  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.contract.masking import compile_patterns  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.http.h1 import respond  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.services.failure import FailureService, ReportFile  # noqa: PLC0415 - being ready comes first

        given = self._options
        report, detail = ReportFile(given["report"]), ErrorDetail(given["error_detail"])
        service = FailureService(
            report, detail, int(given["failed_ping"]), given["url_prefix"], self._read_client_status
        )
        self._respond_failed = partial(respond, service)
        compile_patterns()
        return self._respond_failed


def _encode_response(status: int, content: Mapping[str, object], omit_body: bool) -> bytes:
    body = json.dumps(content).encode()
    lines = [
        "HTTP/1.1 200 OK" if status == 200 else "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "Cache-Control: no-store",
        f"{PROGRAM_HEADER}: stand-in",
        *(["Retry-After: 1"] if status == 503 else []),
        time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if omit_body else head + body


def _options(argv: Sequence[str]) -> Mapping[str, str]:
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(argv[::2], argv[1::2], strict=False)
    }
    if len(argv) % 2 or not given.keys() <= _DEFAULTS.keys():
        sys.stderr.write(f"stand-in: Expected pairs of --option and value, got: {' '.join(argv)}\n")
        sys.exit(2)
    return {**_DEFAULTS, **given}


def _take_stop_signals() -> int:
    """Handle TERM and INT; return a descriptor which becomes readable on a signal. The second one kills the process."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _restore_default)
    return reader


def _restore_default(number: int, frame: object) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)


def _report_ready(descriptor: str) -> None:
    if descriptor.isdecimal():
        with suppress(OSError):  # the supervisor has exited
            os.write(int(descriptor), READY_LINE)


def _preload(load: Callable[[], object]) -> None:
    from threading import Thread  # noqa: PLC0415

    sys.setswitchinterval(_SWITCH_SECONDS)
    Thread(target=load, daemon=True).start()


if __name__ == "__main__":
    main()
