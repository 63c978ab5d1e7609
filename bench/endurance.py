"""A thousand restarts of one worker: the growth of the supervisor.

Before them, 3,500 restarts fill the log buffer: the last mebibyte of all output, our own lines included.
Files are those of the run directory and of the temporary directory.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.children import IDLE_CHILD, all_pids, resident_mib
from bench.harness import OURS, Round, Table, Values, at_most
from bench.places import Place
from bench.supervised import ANY_PORT, REPORTING, Supervised, supervised

NAME = "endurance"
ROUNDS = 1
TIMES = 1000
BEFORE = 3500
SETTLED = 2.5  # seconds: ended runs are checked and closed every second
_WHAT = {"memory": ("resident memory", "MiB", 0.5), "descriptors": ("descriptors", "", 0)}
_WHAT |= {"zombies": ("zombies", "", 0), "files": ("files", "", 0)}
TABLES = tuple(
    Table(name, f"Growth in 1,000 restarts: {words}", unit, (at_most(limit, unit or "more"),), log=False)
    for name, (words, unit, limit) in _WHAT.items()
)


def rounds(place: Place) -> Iterator[Round]:
    folder = place.folder / "endurance"
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    stamps = folder / "stamps"
    stamps.touch()
    environ = {"STAMPS": str(stamps), "TMPDIR": str(temporary)}
    with supervised(place, folder, *ANY_PORT, *REPORTING, "--", *IDLE_CHILD, **environ) as ours:
        ours.until("serving")
        for _ in range(2 if place.brief else BEFORE):
            ours.restart()
        while True:
            before = standing(ours, temporary)
            for _ in range(5 if place.brief else TIMES):
                ours.restart()
            after = standing(ours, temporary)
            yield {OURS: {name: after[name] - before[name] for name in after}}


def standing(ours: Supervised, temporary: Path) -> Values:
    time.sleep(SETTLED)
    pid = ours.process.pid
    return {
        "memory": resident_mib(pid),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "zombies": sum(_is_zombie_of(each, pid) for each in all_pids()),
        "files": sum(len(files) for top in (ours.run_dir, temporary) for _, _, files in os.walk(top)),
    }


def _is_zombie_of(pid: int, parent: int) -> bool:
    with suppress(OSError):
        state, ppid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        return state == "Z" and int(ppid) == parent
    return False
