"""All supervisors: exec to child, death of the child to its replacement, TERM to exit, memory.

In a round all are started one after the other; once they have settled, the child of each is killed; once they have
settled again, each is stopped.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.children import IDLE_CHILD, Stamp, Stamps, exit_seconds, resident_mib, running
from bench.harness import Round, Table, beats, plus, within
from bench.peers import Peer, here
from bench.places import Place

NAME = "lives"
ROUNDS = 0
IMPORTS = "import supervisor.supervisord, click"
ALONE = "the child alone"
REPLACING = ("supervisord", "circus", "gunicorn", "uvicorn --workers", "granian")
SETTLED = 2.0  # seconds: supervisord, s6 and runit treat a child that lives for less than one as failed to start
TABLES = (
    Table(
        "start",
        "From exec to the start of the child",
        "ms",
        (within(IMPORTS, 1.9), beats("supervisord")),
        floor=IMPORTS,
    ),
    Table(
        "replaced",
        "From the death of the child to the start of the next one",
        "ms",
        (plus("runit", 10, "ms"), *(beats(each) for each in REPLACING)),
    ),
    Table("stop", "From TERM to the end, with an idle child", "ms", (plus(ALONE, 20, "ms"),), floor=ALONE),
    Table("memory", "Resident memory of the supervisor", "MiB", (plus(IMPORTS, 6, "MiB"),), floor=IMPORTS),
)


@dataclass
class Life:
    """One running supervisor."""

    peer: Peer
    stamps: Stamps
    process: "subprocess.Popen[bytes]"
    child: Stamp


def rounds(place: Place) -> Iterator[Round]:
    peers, _ = here(place)
    while True:
        found: dict[str, dict[str, float]] = {peer.name: {} for peer in peers}
        with TemporaryDirectory(dir=place.folder) as folder, ExitStack() as stack:
            lives = []
            for number, peer in enumerate(peers):
                life, found[peer.name]["start"] = begin(peer, place, Path(folder, str(number)), stack)
                lives.append(life)
            found[IMPORTS] = floor_of_start(place)
            time.sleep(SETTLED)
            for life in lives:
                found[life.peer.name]["memory"] = resident_mib(life.process.pid)
                if life.peer.replaces:
                    found[life.peer.name]["replaced"] = replace(life)
            time.sleep(SETTLED)
            for life in lives:
                found[life.peer.name]["stop"] = 1000 * exit_seconds(life.process)
            found[ALONE] = {"stop": floor_of_stop(place, Path(folder))}
        yield found
        peers.append(peers.pop(0))


def begin(peer: Peer, place: Place, folder: Path, stack: ExitStack) -> tuple[Life, float]:
    """Start a supervisor; return it, and the milliseconds until its child started."""
    folder.mkdir()
    stamps = stack.enter_context(Stamps(folder))
    argv, environ = peer.command(place, folder), place.environ(STAMPS=str(stamps.path))
    began = time.monotonic()
    process = stack.enter_context(running(argv, environ, folder))
    stamp = stamps.next()
    return Life(peer, stamps, process, stamp), 1000 * (stamp.at - began)


def replace(life: Life) -> float:
    """Kill the child; return the milliseconds until the next one started."""
    life.stamps.clear()
    began = time.monotonic()
    os.kill(life.child.pid, signal.SIGKILL)
    return 1000 * (life.stamps.next().at - began)


def floor_of_start(place: Place) -> dict[str, float]:
    """Return time and memory of the imports that every supervisor based on supervisord needs."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", IMPORTS], env=place.environ(), cwd=place.folder, check=True)
    seconds = time.monotonic() - began
    program = f"{IMPORTS}; print(open('/proc/self/statm').read().split()[1])"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=place.environ(), cwd=place.folder, check=True, capture_output=True, text=True)
    return {"start": 1000 * seconds, "memory": int(done.stdout) * os.sysconf("SC_PAGE_SIZE") / 2**20}


def floor_of_stop(place: Place, folder: Path) -> float:
    """Stop the child without a supervisor."""
    with Stamps(folder) as stamps, running(IDLE_CHILD, place.environ(STAMPS=str(stamps.path)), folder) as process:
        stamps.next()
        return 1000 * exit_seconds(process)
