"""All supervisors, each with its defaults and the same child."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.children import IDLE_CHILD
from bench.harness import OURS
from bench.places import APPS, NotHereError, Place
from bench.supervised import ANY_PORT, REPORTING

Command = Callable[[Place, Path], list[str]]


@dataclass(frozen=True)
class Peer:
    """A supervisor. Some are small C programs; some run an application and start with its import.

    Attributes:
        command: writes its files to a folder of its own and returns its arguments.
        replaces: whether it restarts a killed child.
    """

    name: str
    command: Command
    replaces: bool = True


def ours(place: Place, folder: Path) -> list[str]:
    options = ["--run-dir", str(folder / "run"), *ANY_PORT, *REPORTING]
    return [place.program("drum-supervise"), "start", *options, "--", *IDLE_CHILD]


def supervisord(place: Place, folder: Path) -> list[str]:
    (folder / "supervisord.conf").write_text(f"""
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[unix_http_server]
file={folder}/supervisor.sock
[supervisorctl]
serverurl=unix://{folder}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[program:child]
command={shlex.join(IDLE_CHILD)}
autorestart=true
""")
    return [place.program("supervisord"), "--nodaemon", "--configuration", str(folder / "supervisord.conf")]


def circus(place: Place, folder: Path) -> list[str]:
    (folder / "circus.ini").write_text(f"""
[circus]
endpoint = ipc://{folder}/endpoint
pubsub_endpoint = ipc://{folder}/pubsub
[watcher:child]
cmd = {shlex.join(IDLE_CHILD)}
copy_env = True
""")
    return [place.program("circusd"), str(folder / "circus.ini")]


def honcho(place: Place, folder: Path) -> list[str]:
    (folder / "Procfile").write_text(f"child: exec {shlex.join(IDLE_CHILD)}\n")
    return [place.program("honcho"), "--procfile", str(folder / "Procfile"), "start"]


def s6(place: Place, folder: Path) -> list[str]:
    _run_script(folder / "services" / "child")
    return [place.program("s6-svscan"), str(folder / "services")]


def runit(place: Place, folder: Path) -> list[str]:
    _run_script(folder / "child")
    return [place.program("runsv"), str(folder / "child")]


def tini(place: Place, _: Path) -> list[str]:
    return [place.program("tini"), "-s", "--", *IDLE_CHILD]


def gunicorn(place: Place, folder: Path) -> list[str]:
    options = ["--bind", f"unix:{folder}/socket", "--chdir", str(APPS), "--no-control-socket"]
    return [place.program("gunicorn"), *options, "stamping:wsgi"]


def uvicorn(place: Place, folder: Path) -> list[str]:
    options = ["--uds", f"{folder}/socket", "--app-dir", str(APPS), "--workers", "2"]
    return [place.program("uvicorn"), *options, "stamping:app"]


def granian(place: Place, folder: Path) -> list[str]:
    options = ["--uds", f"{folder}/socket", "--working-dir", str(APPS), "--respawn-failed-workers"]
    return [place.program("granian"), *options, "--interface", "asgi", "stamping:app"]


def _run_script(service: Path) -> None:
    service.mkdir(parents=True)
    run = service / "run"
    run.write_text(f"#!/bin/sh\nexec {shlex.join(IDLE_CHILD)}\n")
    run.chmod(0o755)


PEERS = (
    Peer(OURS, ours),
    Peer("supervisord", supervisord),
    Peer("circus", circus),
    Peer("honcho", honcho, replaces=False),
    Peer("s6", s6),
    Peer("runit", runit),
    Peer("tini", tini, replaces=False),
    Peer("gunicorn", gunicorn),
    Peer("uvicorn --workers", uvicorn),
    Peer("granian", granian),
)


def here(place: Place) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that can run, and the reasons why others cannot."""
    found, missing = [], {}
    for peer in PEERS:
        with TemporaryDirectory(dir=place.folder) as probe:
            try:
                peer.command(place, Path(probe))
            except NotHereError as error:
                missing[peer.name] = str(error)
            else:
                found.append(peer)
    return found, missing
