"""`make bench`: measure against the peers; print a table, write JSON, draw an SVG.

`--only NAME` runs only that measurement and may be repeated; `--brief` measures less, to see that it works. `--docs`
publishes the figures in the documentation; together with `--only` it updates those and keeps the others.
"""

import argparse
import json
import signal
import sys
import tempfile
from contextlib import closing
from itertools import islice
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from bench import (
    commands,
    endurance,
    first_answer,
    idle,
    lives,
    output_delay,
    resource_sample,
    restarts,
    stand_in,
    swap,
    throughput,
)
from bench.drawing import drawing
from bench.harness import Measurement, Round
from bench.machine import load, machine, versions
from bench.peers import here
from bench.places import HERE, NotHereError, Place
from bench.results import as_json, terminal
from drum_supervisor.contract.control_client import ControlError

MEASUREMENTS: tuple[Measurement, ...] = (
    lives,
    idle,
    first_answer,
    stand_in,
    swap,
    throughput,
    resource_sample,
    output_delay,
    commands,
    restarts,
    endurance,
)
DOCS = HERE.parent / "docs"
MANY = 20
KEPT = HERE.parent / ".compat"


def main() -> int:
    """Run the selected measurements; the exit code does not depend on the figures."""
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all child processes are stopped
    chosen = [each for each in MEASUREMENTS if not options.only or each.NAME in options.only]
    found: dict[str, Any] = {"machine": machine(), "versions": versions(), "load": [load()], "measurements": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Place(Path(folder), options.brief)
        found["not_here"] = here(place)[1]
        for measurement in chosen:
            found["measurements"] += measured(measurement, place, rounds_of(measurement, options))
            found["load"].append(load())
            options.json.write_text(json.dumps(found, indent=1))
    print("\n" + terminal(found))
    options.svg.write_text(drawing(found))
    if options.docs:
        publish(found)
    return 0


def publish(found: dict[str, Any]) -> None:
    """Publish these figures in the documentation; measurements that were not run keep theirs."""
    path = DOCS / "performance.json"
    known = json.loads(path.read_text())["measurements"] if path.exists() else []
    order = [each.NAME for each in MEASUREMENTS]
    new = {each["measurement"] for each in found["measurements"]}
    merged = [*found["measurements"], *(each for each in known if each["measurement"] not in new)]
    merged.sort(key=lambda each: order.index(each["measurement"]))
    path.write_text(json.dumps({**found, "measurements": merged}, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [each.NAME for each in MEASUREMENTS]
    parser.add_argument("--only", action="append", choices=names)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--brief", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", default=KEPT / "bench.json")
    parser.add_argument("--svg", type=Path, metavar="FILE", default=KEPT / "bench.svg")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.json as well")
    return parser.parse_args()


def rounds_of(measurement: Measurement, options: argparse.Namespace) -> int:
    wanted = measurement.ROUNDS or options.rounds
    return min(wanted, 2) if options.brief else int(wanted)


def measured(measurement: Measurement, place: Place, count: int) -> list[dict[str, Any]]:
    """Run the rounds of a measurement, print each, and return its tables."""
    taken: list[Round] = []
    why_not = ""
    print(f"{measurement.NAME}: {(measurement.__doc__ or '').splitlines()[0]}", flush=True)
    try:
        with closing(measurement.rounds(place)) as rounds:
            for number, found in enumerate(islice(rounds, count), start=1):
                taken.append(found)
                if count <= MANY or number % MANY == 0:
                    print(f"  round {number} of {count}, load {load()}", flush=True)
    except (NotHereError, ControlError, OSError, SubprocessError) as error:  # the others are still measured
        why_not = f"{error}" or type(error).__name__
        print(f"  {why_not}", flush=True)
    return [as_json(measurement.NAME, table, taken, why_not) for table in measurement.TABLES]


if __name__ == "__main__":
    sys.exit(main())
