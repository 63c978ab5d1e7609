"""From a failure to the first response of the error server, and from ready to that of the model server.

In a round, an attempt fails while a request waits; a newly started error server answers it. Then a retry becomes
ready, and the first of a series of requests that the model server answers is measured. The floor is the same error
server, started with the same listener but without a supervisor.
"""

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.children import running
from bench.clients import asked, status_of
from bench.harness import OURS, Round, Table, at_most, plus
from bench.places import APPS, Place
from bench.supervised import ANY_PORT, REPORTING, Supervised, supervised

NAME = "first_answer"
ROUNDS = 0
ALONE = "that error server alone"
PAUSE = 0.3  # seconds between reaching and passing the gate, in which nothing else happens
ANNOUNCED = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'  # as systemd does, and as the supervisor does for its children
TABLES = (
    Table("cold", "From failure to the first 513, cold error server", "ms", (plus(ALONE, 20, "ms"),), floor=ALONE),
    Table("ready", "From ready to the first 200, after the error server", "ms", (at_most(5, "ms"),)),
)


def rounds(place: Place) -> Iterator[Round]:
    for number in count():
        folder = place.folder / f"first-answer-{number}"
        folder.mkdir()
        gate = folder / "gate"
        os.mkfifo(gate)
        command = ("--", sys.executable, str(APPS / "gated.py"))
        with supervised(place, folder, *ANY_PORT, *REPORTING, *command, GATE=str(gate)) as ours:
            cold = fail(ours, gate)
            ready = recover(ours, gate)
        yield {OURS: {"cold": cold, "ready": ready}, ALONE: {"cold": alone(place, folder)}}


def fail(ours: Supervised, gate: Path) -> float:
    """Return the milliseconds from the failure to the response to a request that already waits."""
    opened = open(gate, "w")  # noqa: SIM115 - closing it is the signal
    connection = asked(ours.address.port)
    time.sleep(PAUSE)
    began = time.monotonic()
    with opened:
        opened.write("fails")
    expect(status_of(connection), 513)
    took = time.monotonic() - began
    ours.until("failed")
    shutil.copy(ours.run_dir / "failure.json", gate.parent)
    return 1000 * took


def recover(ours: Supervised, gate: Path) -> float:
    """Return the milliseconds from ready to the first response of the model server."""
    ours.client.restart()
    opened = open(gate, "w")  # noqa: SIM115
    time.sleep(PAUSE)
    began = time.monotonic()
    with opened:
        opened.write("serves")
    while status_of(asked(ours.address.port)) != 200:
        pass
    return 1000 * (time.monotonic() - began)


def alone(place: Place, folder: Path) -> float:
    """Start the error server as the supervisor does; return the milliseconds until a request is answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        connection = asked(port)
        server = [sys.executable, "-m", "drum_supervisor.serve.error", "--address", f"127.0.0.1:{port}"]
        shell = ["sh", "-c", f"exec 3<&{listener.fileno()}; {ANNOUNCED}", "sh"]
        argv = [*shell, *server, "--report", str(folder / "failure.json")]
        began = time.monotonic()
        with running(argv, place.environ(), folder, pass_fds=(listener.fileno(),)):
            expect(status_of(connection), 513)
            return 1000 * (time.monotonic() - began)


def expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise TimeoutError(f"answered {status} instead of {wanted}")
