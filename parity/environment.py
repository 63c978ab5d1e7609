"""The environment of the real DRUM, `.compat/drum`, which `make parity` creates, and the packages installed there."""

import argparse
import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / ".compat" / "drum"
VARIABLE = "PARITY_DRUM"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for another environment."""
    default = Path(os.environ.get(VARIABLE) or FOLDER)
    parser.add_argument(
        "--drum", type=Path, metavar="DIR", default=default, help=f"the environment of DRUM, else ${VARIABLE}"
    )


def checked(parser: argparse.ArgumentParser, folder: Path) -> Path:
    """Return the environment's absolute path; exit with a message if it has no DRUM."""
    if not (folder / "bin" / "drum").exists():
        parser.error(f"there is no DRUM in {folder}: make parity installs it, or name its environment with --drum")
    return folder.absolute()


def versions(python: Path, *packages: str) -> dict[str, str]:
    """Return the versions of the packages installed for that Python, except missing ones."""
    program = (
        "import importlib.metadata as m, platform, sys\n"
        "print('Python', platform.python_version())\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "for name in sys.argv[1:]:\n"
        "    if name in have: print(name, have[name])"
    )
    done = subprocess.run([str(python), "-c", program, *packages], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())
