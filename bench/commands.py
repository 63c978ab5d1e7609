"""The cost of the command line: status, --help, and the imports of start.

`status` queries a running supervisor; so do the commands of the peers.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.harness import OURS, Round, Table, Values, beats, within
from bench.lives import IMPORTS, begin
from bench.peers import here
from bench.places import Place

NAME = "commands"
ROUNDS = 0
CLICK = "import click"
_START = "import drum_supervisor.cli.main, drum_supervisor.supervise.start"
TABLES = (
    Table("status", "One `status`", "ms", (beats("supervisord"), beats("circus")), floor=CLICK),
    Table("help", "`--help`", "ms", (within(CLICK, 2.0), beats("supervisord"), beats("circus")), floor=CLICK),
    Table("imports", "The imports of `start`", "ms", (), floor=IMPORTS),
    Table("modules", "How many modules these are", "modules", (), floor=IMPORTS, log=False),
)
CLIENTS: Mapping[str, Sequence[str]] = {
    OURS: ("drum-supervise", "status", "--run-dir", "{folder}/run"),
    "supervisord": ("supervisorctl", "--configuration", "{folder}/supervisord.conf", "status"),
    "circus": ("circusctl", "--endpoint", "ipc://{folder}/endpoint", "status"),
}


def rounds(place: Place) -> Iterator[Round]:
    with ExitStack() as stack:
        folders: dict[str, Path] = {}
        for peer in here(place)[0]:
            if peer.name in CLIENTS:
                folders[peer.name] = place.folder / f"commands-{peer.name}"
                begin(peer, place, folders[peer.name], stack)
        while True:
            yield one_round(place, folders)


def one_round(place: Place, folders: Mapping[str, Path]) -> Round:
    click = python(place, CLICK)["imports"]
    found: dict[str, Values] = {CLICK: {"status": click, "help": click}}
    found |= {name: asked(place, name, folder) for name, folder in folders.items()}
    found[OURS] = {**found[OURS], **python(place, _START)}
    return {**found, IMPORTS: python(place, IMPORTS)}


def asked(place: Place, name: str, folder: Path) -> Values:
    program, *arguments = (each.format(folder=folder) for each in CLIENTS[name])
    path = place.program(program)
    return {"status": timed(place, [path, *arguments])[0], "help": timed(place, [path, "--help"])[0]}


def python(place: Place, program: str) -> Values:
    """Return the milliseconds that Python takes to run `program`, and the number of loaded modules."""
    took, out = timed(place, [sys.executable, "-c", f"{program}; import sys; print(len(sys.modules))"])
    return {"imports": took, "modules": int(out)}


def timed(place: Place, argv: Sequence[str]) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(argv, env=place.environ(), cwd=place.folder, check=True, capture_output=True, text=True)
    return 1000 * (time.monotonic() - began), done.stdout
