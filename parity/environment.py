"""The environment of the real DRUM: `.parity/drum`, made by pip when it is missing."""

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = ("datarobot-drum==1.18.1", "scikit-learn")  # DRUM leaves the frameworks of models to the user
FOLDER = Path(__file__).resolve().parent.parent / ".parity" / "drum"
VARIABLE = "PARITY_DRUM"


def drum_environment(folder: Path | None = None) -> Path:
    """Return the folder of an environment with DRUM: `folder`, or the one that the variable names, or our own."""
    if folder is not None or (named := os.environ.get(VARIABLE)):
        return Path(folder or named).absolute()
    done = FOLDER / "installed.txt"
    wanted = "\n".join(PACKAGES)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {' '.join(PACKAGES)} into {FOLDER.relative_to(FOLDER.parent.parent)} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES]
        subprocess.run(pip, check=True)
        done.write_text(wanted)
    return FOLDER


def versions(python: Path, *packages: str) -> dict[str, str]:
    """Return the versions of what is installed beside that Python; packages that are missing are left out."""
    program = (
        "import importlib.metadata as m, platform, sys\n"
        "print('Python', platform.python_version())\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "for name in sys.argv[1:]:\n"
        "    if name in have: print(name, have[name])"
    )
    done = subprocess.run([str(python), "-c", program, *packages], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())
