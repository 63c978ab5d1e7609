"""The container engine for tests and `make image`: docker or podman, with the flags this machine needs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = "drum-supervisor"
BASES = ("python:3.12-slim", "localhost/drum-supervisor-base")
CERTIFICATES = "/etc/ssl/certs"
LOW_LIMITS = ("--ulimit=nofile=1024:4096", "--ulimit=nproc=1024:1024")


class NoEngineError(Exception):
    """No engine can run a container; the message says why."""


@dataclass(frozen=True)
class Engine:
    """docker or podman.

    Attributes:
        base: an image with Python.
        limits: flags for `run` and `build`, where this machine does not permit the engine's default limits.
    """

    program: str
    base: str
    limits: tuple[str, ...] = ()

    def call(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{self.program} {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def build(self, context: Path, tag: str, arguments: Iterable[str] = ()) -> None:
        """Build the Dockerfile in `context`, with the network and the certificates of this machine."""
        # Only docker's image format keeps a health check. docker has no other format, and cannot mount volumes here.
        of_podman = (
            ["--format=docker", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"] if self.program == "podman" else []
        )
        given = [f"--build-arg={argument}" for argument in (f"PYTHON_IMAGE={self.base}", *arguments)]
        self.call("build", *self.limits, "--network=host", *of_podman, *given, "--tag", tag, str(context))

    def run(self, *arguments: str) -> str:
        """Start a container in the background; return its id."""
        return self.call("run", "--detach", *self.limits, *arguments).stdout.strip()

    def remove(self, name: str) -> None:
        """Kill and remove a container. By default podman stops it first."""
        self.call("rm", "--force", *(["--time=0"] if self.program == "podman" else []), name)

    def inspect(self, what: str) -> dict:
        return json.loads(self.call("inspect", what).stdout)[0]


@cache
def find() -> Engine:
    """Return the engine of this machine.

    Raises:
        NoEngineError: there is none that runs containers.
    """
    problems = [_problem_or_engine(program) for program in ("docker", "podman")]
    for found in problems:
        if isinstance(found, Engine):
            return found
    raise NoEngineError(f"no container engine: {'; '.join(map(str, problems))}; make container-engine installs one")


def _problem_or_engine(program: str) -> Engine | str:
    if not shutil.which(program):
        return f"{program} is not installed"
    if program == "podman" and os.geteuid():
        return "podman gives containers their own address only for root"
    if _fails(program, "info"):
        return f"{program} is not running"
    base = next((base for base in BASES if not _fails(program, "image", "inspect", base)), None)
    if base is None and _fails(program, "pull", "--quiet", BASES[0]):
        return f"{program} has no image with Python and cannot pull one"
    base = base or BASES[0]
    for limits in ((), LOW_LIMITS):
        problem = _fails(program, "run", "--rm", *limits, base, "python", "-c", "")
        if not problem:
            return Engine(program, base, limits)
    return f"{program} cannot run a container: {problem}"


def _fails(*command: str) -> str:
    """Return the last line that a failing command prints, \"\" if it succeeds."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stderr or done.stdout).strip().splitlines()
    return (said[-1] if said else f"exit status {done.returncode}") if done.returncode else ""


def main(arguments: Sequence[str]) -> None:
    """Build the image: `python -m tests.container.engine [BUILD_ARG=VALUE ...]`."""
    engine = find()
    engine.build(ROOT, os.environ.get("TAG", IMAGE), arguments)
    print(f"{engine.program} built {os.environ.get('TAG', IMAGE)}")


if __name__ == "__main__":
    main(sys.argv[1:])
