"""From a failure to the first 513 with a stand-in: 200 swaps, one request after the other.

Each round has a supervisor of its own, because after the first failure there is an error server. A client sends a
request on a new connection, waits for the response, and repeats after a millisecond, until it has a complete 513.
"""

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.clients import asked, status_of
from bench.harness import OURS, Round, Table, at_most, percentile
from bench.places import Place
from bench.supervised import ANY_PORT, REPORTING, Supervised, supervised

NAME = "stand_in"
ROUNDS = 200
RESPOND = ("--while-starting", "respond")
SCRIPT = """read -r _ < "$GATE"
echo '{"kind": "init_failed", "stage": "load", "type": "RuntimeError", "message": "no weights"}' >&4; exit 1"""
PAUSE = 0.2
EVERY = 0.001  # without pauses the client would take processor time from the supervisor
TABLES = (
    Table(
        "swap",
        "From failure to the first 513, with the stand-in",
        "ms",
        (at_most(20, "ms at p99 over all", lambda values: percentile(values, 99)),),
    ),
)


def rounds(place: Place) -> Iterator[Round]:
    for number in count():
        folder = place.folder / f"stand-in-{number}"
        folder.mkdir()
        os.mkfifo(folder / "gate")
        command = (*RESPOND, *ANY_PORT, *REPORTING, "--", "sh", "-c", SCRIPT)
        with supervised(place, folder, *command, GATE=str(folder / "gate")) as ours:
            yield {OURS: {"swap": swap(ours, folder / "gate")}}


def swap(ours: Supervised, gate: Path) -> float:
    opened = open(gate, "w")  # noqa: SIM115 - closing it is the signal
    port = ours.address.port
    while status_of(asked(port)) != 503:
        pass
    time.sleep(PAUSE)
    began = time.monotonic()
    with opened:
        opened.write("\n")
    while status_of(asked(port)) != 513:
        time.sleep(EVERY)
    return 1000 * (time.monotonic() - began)
