"""The stand-in: answers while neither model server nor error server is ready. Small, and up at once.

`python -S -m drum_supervisor.serve.stand_in [--situation FILE] [--report FILE] [--url-prefix PATH]
[--failed-ping STATUS] [--error-detail none|message|full]`

It says that the model server is starting, and how far it is; from the moment on in which the situation says that it
has failed, why, as the error server does. The supervisor's listener is its own. What the options mean is in
`settings.py`; neither that nor anything else that takes its time is loaded before the first answer.
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

from drum_supervisor.contract.client_status import PROGRAM_HEADER, Situation, SituationFile
from drum_supervisor.contract.fds import LISTENER_FD, READY_LINE, REPORT_FD_VARIABLE
from drum_supervisor.servers.standin_server import LeanFront

STARTING = "ERROR: The model server is starting."
HELD = "ERROR: The model server was stopped by an operator."
ALIVE = "Starting"
ALIVE_BUT_HELD = "Stopped by an operator"

_DEFAULTS = {"situation": "", "report": "", "url_prefix": "", "failed_ping": "200", "error_detail": "message"}
_SWITCH_SECONDS = 0.0005  # between threads: what is loaded in another one must keep no client waiting


def main() -> None:
    """Serve until a stop is asked for."""
    options = _options(sys.argv[1:])
    answers = Answers(options)
    stop = _stop_signals()
    front = LeanFront(socket.socket(fileno=LISTENER_FD), answers)
    _report_ready(os.environ.get(REPORT_FD_VARIABLE, ""))
    _load_ahead(answers.load)
    front.run(stop)
    os._exit(0)  # whatever is still being loaded


class Answers:
    """What is answered: takes the head of a request, and returns the whole answer."""

    def __init__(self, options: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._situation = SituationFile(options["situation"])
        self._clock = clock
        self._began = clock()
        self._explain: Callable[[bytes], bytes] | None = None
        self._livez = tuple(f"{options['url_prefix']}/livez{slash}".encode() for slash in ("", "/"))

    def __call__(self, head: bytes) -> bytes:
        situation = self._situation()
        if situation.failed:
            return (self._explain or self.load())(head)
        method, _, rest = head.partition(b" ")
        is_livez = rest.partition(b" ")[0].partition(b"?")[0] in self._livez
        return _encoded(200 if is_livez else 503, self._told(situation, is_livez), omit_body=method == b"HEAD")

    def _told(self, situation: Situation, is_livez: bool) -> Mapping[str, object]:
        if situation.held:
            return {"message": ALIVE_BUT_HELD if is_livez else HELD}
        seconds = round(self._clock() - (situation.since or self._began), 1)
        return {"message": ALIVE if is_livez else STARTING, "stage": situation.stage, "seconds": seconds}

    def load(self) -> Callable[[bytes], bytes]:
        """Load what answers with the failure: all that the error server needs, except for a framework."""
        from drum_supervisor.contract.failure_report import ErrorDetail  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.contract.masking import prepare  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.servers import selector_server  # noqa: PLC0415 - being ready comes first
        from drum_supervisor.services.failure import FailureService, ReportFile  # noqa: PLC0415 - being ready comes first

        given = self._options
        report, detail = ReportFile(given["report"]), ErrorDetail(given["error_detail"])
        service = FailureService(report, detail, int(given["failed_ping"]), given["url_prefix"], self._situation)
        self._explain = partial(selector_server.answered, service)
        prepare()
        return self._explain


def _encoded(status: int, content: Mapping[str, object], omit_body: bool) -> bytes:
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


def _stop_signals() -> int:
    """Take TERM and INT; return a descriptor that is readable when one has come. The second one ends the process."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_at_the_next)
    return reader


def _end_at_the_next(number: int, frame: object) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)


def _report_ready(descriptor: str) -> None:
    if descriptor.isdecimal():
        with suppress(OSError):  # a supervisor that is gone
            os.write(int(descriptor), READY_LINE)


def _load_ahead(load: Callable[[], object]) -> None:
    from threading import Thread  # noqa: PLC0415

    sys.setswitchinterval(_SWITCH_SECONDS)
    Thread(target=load, daemon=True).start()


if __name__ == "__main__":
    main()
