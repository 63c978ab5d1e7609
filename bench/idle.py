"""Processor time of idle supervisors: all run at the same time, each with an idle child.

The first three quarters of a minute do not count: for so long ours watches the workers of a new server. Processor time
is the kernel's, in nanoseconds (schedstat).
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench.children import cpu_seconds
from bench.harness import Round, Table, at_most
from bench.lives import begin
from bench.peers import here
from bench.places import Place

NAME = "idle"
ROUNDS = 0
SETTLED = 45.0
SECONDS = 8.0
TABLES = (Table("idle", "Processor time while nothing happens", "%", (at_most(0.1, "%"),)),)


def rounds(place: Place) -> Iterator[Round]:
    folder = place.folder / "idle"
    folder.mkdir()
    with ExitStack() as stack:
        lives = [begin(peer, place, folder / str(number), stack)[0] for number, peer in enumerate(here(place)[0])]
        time.sleep(1 if place.brief else SETTLED)
        while True:
            before = {life.peer.name: (time.monotonic(), cpu_seconds(life.process.pid)) for life in lives}
            time.sleep(1 if place.brief else SECONDS)
            found: dict[str, dict[str, float]] = {}
            for life in lives:
                began, used = before[life.peer.name]
                share = (cpu_seconds(life.process.pid) - used) / (time.monotonic() - began)
                found[life.peer.name] = {"idle": 100 * share}
            yield found
