"""Requests per second and their 99th percentile, through the supervisor and from the same uvicorn alone.

The supervisor passes its listener on and is not in the path of a request, so there should be no difference. Each
round restarts both and gives each the same load from wrk, one after the other.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from bench.children import LONGEST, running
from bench.clients import asked, reserved_port, seen_by, status_of, wrk
from bench.harness import OURS, Round, Table, Values, above, taking_turns, within
from bench.places import APPS, Place
from bench.supervised import ANY_PORT, supervised

NAME = "throughput"
ROUNDS = 0
ALONE = "uvicorn alone"
CONNECTIONS = 32
SECONDS = 5
APP = ("plain:app", "--app-dir", str(APPS), "--no-access-log", "--log-level", "warning")
TABLES = (
    Table(
        "rate",
        "Requests per second",
        "/s",
        (above(ALONE, 0.99), within(ALONE, 1.02)),
        floor=ALONE,
        reference=ALONE,
        log=False,
    ),
    Table(
        "p99", "99th percentile of answer times", "ms", (within(ALONE, 1.02),), floor=ALONE, reference=ALONE, log=False
    ),
)


def rounds(place: Place) -> Iterator[Round]:
    place.program("wrk")
    numbers = count()
    cases: dict[str, Callable[[], Values]] = {
        OURS: lambda: through_us(place, place.folder / f"throughput-{next(numbers)}"),
        ALONE: lambda: alone(place, place.folder / f"throughput-{next(numbers)}"),
    }
    return taking_turns(cases)


def through_us(place: Place, folder: Path) -> Values:
    command = ("--ready", "http", "--", place.program("uvicorn"), *APP, "--fd", "{fd}")
    with supervised(place, folder, *ANY_PORT, *command) as ours:
        ours.until("serving")
        return loaded(place, ours.address.port)


def alone(place: Place, folder: Path) -> Values:
    folder.mkdir()
    with reserved_port() as port:
        argv = [place.program("uvicorn"), *APP, "--host", "127.0.0.1", "--port", str(port)]
        with running(argv, place.environ(), folder):
            until_answered(port)
            return loaded(place, port)


def loaded(place: Place, port: int) -> Values:
    """Warm it up with a short load, then measure."""
    seen_by(wrk(place, port, CONNECTIONS, 1))
    load = seen_by(wrk(place, port, CONNECTIONS, 1 if place.brief else SECONDS))
    return {"rate": load.per_second, "p99": load.p99}


def until_answered(port: int) -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        with suppress(OSError):
            status_of(asked(port))
            return
        time.sleep(0.01)
    raise TimeoutError(f"no answer at port {port}")
