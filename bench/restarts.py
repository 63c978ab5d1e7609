"""A hundred worker restarts under load: 25 times all four, with 64 connections of wrk, on each built-in server.

FastAPI's and Flask's workers are replaced one after the other, gunicorn together with its four workers.

Each connection is idle for 50 ms between two requests, which leaves processor time to the starting workers, and which
is the hard case: a stopping worker closes connections on which the next request may be on its way.
A request failed if its connection was refused or broken, if it took longer than a minute, or if its response
was not a success.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.clients import seen_by, wrk
from bench.harness import OURS, Round, Table, Values, at_most
from bench.places import Place
from bench.supervised import ANY_PORT, supervised

NAME = "restarts"
ROUNDS = 1
WORKERS = 4
TIMES = 25
CONNECTIONS = 64
FOR_EVER = 3600
PAUSE = 50  # ms
SCRIPT = f"function delay() return {PAUSE} end\n"
CUSTOM = "def load_model(code_dir): return 1\ndef score_unstructured(model, data, **kwargs): return data\n"
SERVER_TYPES = {OURS: "fastapi", "with Flask": "flask", "with gunicorn": "gunicorn"}
TABLES = (
    Table(
        "failed",
        "Requests that failed in 100 restarts under load",
        "requests",
        tuple(at_most(0, "requests", name=name) for name in SERVER_TYPES),
    ),
    Table("requests", "Requests that were answered meanwhile", "requests"),
    Table("seconds", "Time for one restart of all four workers", "s"),
)


def rounds(place: Place) -> Iterator[Round]:
    place.program("wrk")
    while True:
        yield {name: through_us(place, server_type) for name, server_type in SERVER_TYPES.items()}


def through_us(place: Place, server_type: str) -> Values:
    folder: Path = place.folder / f"restarts-{server_type}"
    folder.mkdir()
    (folder / "custom.py").write_text(CUSTOM)
    script = folder / "delay.lua"
    script.write_text(SCRIPT)
    model = ("--code-dir", str(folder), "--target-type", "unstructured", "--workers", str(WORKERS))
    model += ("--server-type", server_type)
    times = 1 if place.brief else TIMES
    with supervised(place, folder, *ANY_PORT, *model) as ours:
        ours.until("serving")
        load = wrk(place, ours.address.port, CONNECTIONS, FOR_EVER, "/ping", script)
        began = time.monotonic()
        try:
            for _ in range(times):
                ours.restart()
            took = time.monotonic() - began
        finally:
            seen = seen_by(load, interrupt=True)
    return {"failed": seen.failed, "requests": seen.requests, "seconds": took / times}
