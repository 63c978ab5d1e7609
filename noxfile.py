"""Tests on every supported Python, and the renewal of constraints.txt; `make test-all` and `make lock` call it."""

import json
import os
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
CONSTRAINTS = Path("constraints.txt")
HEADER = """\
# Exact versions that are known to work together, for `make` and CI; users are free within setup.cfg's bounds.
# Written by `make lock` from what pip chooses on each Python: renew it with that, do not edit.
"""

# Name, what is installed from, extras. The Dockerfile says what each is for.
IMAGE_LOCKS = [
    ("core", "setup.cfg", []),
    ("all", "setup.cfg", ["--extra", "all"]),
    ("build", "conf/image/build.in", []),
]

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"

_pins: dict[str, dict[str, str]] = {}


def _offer_all_of_pyenv() -> None:
    """Let `python3.x` be found also where pyenv has it installed but not selected."""
    if pyenv := shutil.which("pyenv"):
        versions = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=True).stdout
        os.environ["PYENV_VERSION"] = ":".join(versions.split())


_offer_all_of_pyenv()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; what follows `--` goes to pytest."""
    session.install("-q", "-c", str(CONSTRAINTS), ".[all,test]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session(python=PYTHONS)
def lock(session: nox.Session) -> None:
    """Ask pip of each Python what it would install; the last one writes constraints.txt."""
    report = session.run(
        *"python -m pip install --quiet --dry-run --ignore-installed --report - .[all,test,dev]".split(),
        silent=True,
        stderr=None,
    )
    chosen = json.loads(str(report))["install"]
    pins = {each["metadata"]["name"].lower().replace("_", "-"): each["metadata"]["version"] for each in chosen}
    _pins[str(session.python)] = {name: version for name, version in pins.items() if name != "drum-supervisor"}
    if len(_pins) == len(PYTHONS):
        CONSTRAINTS.write_text(HEADER + "".join(f"{line}\n" for line in _constraints()), encoding="utf-8")
        session.log(f"{CONSTRAINTS} is renewed: run `make check test-all` before you commit it")


@nox.session
def lock_image(session: nox.Session) -> None:
    """Write what the image installs, with hashes, for all Pythons: the versions of constraints.txt."""
    session.install("-q", "uv>=0.8")
    how = "--quiet --universal --python-version 3.10 --generate-hashes --no-annotate --no-header --upgrade".split()
    for name, source, extras in IMAGE_LOCKS:
        written = ("--constraint", str(CONSTRAINTS), "--output-file", f"conf/image/{name}.txt")
        session.run("uv", "pip", "compile", *how, *written, *extras, source)


@nox.session
def audit(session: nox.Session) -> None:
    """Ask PyPI's vulnerability database about all that the image contains; fail too if it does not know a package."""
    session.install("-q", "pip-audit>=2.9")
    for name, _, _ in IMAGE_LOCKS:
        session.run("pip-audit", "--strict", "--disable-pip", "--require-hashes", "-r", f"conf/image/{name}.txt")


def _constraints() -> list[str]:
    """Return one line a package, or, where the Pythons differ, one for each of its versions."""
    lines = []
    for name in sorted({name for pins in _pins.values() for name in pins}):
        pythons_of = defaultdict(list)
        for python in PYTHONS:
            if name in _pins[python]:
                pythons_of[_pins[python][name]].append(python)
        for version, pythons in pythons_of.items():
            lines.append(f"{name}=={version}{_marker(pythons) if len(pythons_of) > 1 else ''}")
    return lines


def _marker(pythons: list[str]) -> str:
    """Return the marker for some neighbouring Pythons; the newest stands for all that follow."""
    if len(pythons) == 1 and pythons[0] not in (PYTHONS[0], PYTHONS[-1]):
        return f' ; python_version == "{pythons[0]}"'
    bounds = []
    if pythons[0] != PYTHONS[0]:
        bounds.append(f'python_version >= "{pythons[0]}"')
    if pythons[-1] != PYTHONS[-1]:
        bounds.append(f'python_version <= "{pythons[-1]}"')
    return f" ; {' and '.join(bounds)}"
