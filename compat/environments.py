"""A virtual environment for each set of packages, below `.compat/`; created once, by uv if available."""

import shutil
import subprocess
import sys
from pathlib import Path

from compat.servers import Server

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
ENVIRONMENTS = HERE.parent / ".compat"


class NotHereError(Exception):
    """A server cannot be installed, or a requirement is missing; the text says why."""


def made(server: Server) -> Path:
    """Return the folder of the server's environment, created if necessary; a `NotHereError` if that fails."""
    folder = ENVIRONMENTS / server.environment
    done = folder / "installed.txt"
    wanted = "\n".join([*server.packages, server.prepare])
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if server.packages:
            _install(server.packages, folder)
        if server.prepare:
            run(filled_in(server.prepare, folder), APPS / server.folder)
        done.write_text(wanted)
    return folder


def filled_in(command: str, folder: Path) -> list[str]:
    """Return the arguments of `command` with its environment for {environment}, {bin} and {python}."""
    places = {"{environment}": str(folder), "{bin}": str(folder / "bin"), "{python}": str(folder / "bin" / "python")}
    arguments = command.split()
    for name, path in places.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    return arguments


def version_of(server: Server, folder: Path) -> str:
    """Return the version of the server's first package, or the output of its version command."""
    if server.version:
        return run(server.version.split(), APPS).splitlines()[0]
    program = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return run([str(folder / "bin" / "python"), "-c", program, server.environment], APPS).strip()


def run(command: list[str], folder: Path) -> str:
    """Run `command` in `folder` and return its output; a `NotHereError` if it does not exist or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=1800)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHereError(str(error)) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise NotHereError(f"{Path(command[0]).name} exited with status {done.returncode}: {lines[-1]}")
    return done.stdout


def _install(packages: tuple[str, ...], folder: Path) -> None:
    python = str(folder / "bin" / "python")
    if uv := shutil.which("uv"):
        run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], HERE)
        run([uv, "pip", "install", "--quiet", "--python", python, *packages], HERE)
    else:
        run([sys.executable, "-m", "venv", str(folder)], HERE)
        run([python, "-m", "pip", "install", "--quiet", *packages], HERE)
