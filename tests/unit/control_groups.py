"""Control groups for tests: recorded trees, and real groups on this machine."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drum_supervisor.resources.cgroup_paths import below, parse_memberships, parse_mounts
from tests.support import until

PID = 4242
MIB = 1024 * 1024
TREES = Path(__file__).parent / "cgroup_trees"
NAMES = sorted(tree.stem for tree in TREES.glob("*.txt"))


def lay_out(name: str, root: Path) -> Path:
    """Write the files of a recorded tree below `root`; return `root`."""
    text = (TREES / f"{name}.txt").read_text(encoding="ascii")
    for entry in text.split("\n--- ")[1:]:
        path, _, content = entry.partition("\n")
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.rstrip("\n") + "\n")
    return root


def own_directory(controller: str) -> Path:
    """Return this process's group in the cgroup v1 hierarchy of `controller`; skip the test if there is none."""
    mounts = parse_mounts(Path("/proc/self/mountinfo").read_text())
    for membership in parse_memberships(Path("/proc/self/cgroup").read_text()):
        for mount in mounts:
            relative = below(mount.root, membership.path)
            if controller in membership.controllers & mount.options and relative is not None:
                return Path(mount.point) / relative
    pytest.skip(f"needs the {controller} controller of cgroup version 1")


def own_unified_directory() -> Path:
    """Return this process's cgroup v2 group; skip the test if there is none."""
    mounts = [mount for mount in parse_mounts(Path("/proc/self/mountinfo").read_text()) if mount.version == 2]
    paths = [item.path for item in parse_memberships(Path("/proc/self/cgroup").read_text()) if not item.controllers]
    for mount, path in zip(mounts, paths, strict=False):
        relative = below(mount.root, path)
        if relative is not None:
            return Path(mount.point) / relative
    pytest.skip("needs cgroup version 2")


@contextmanager
def new_group(parent: Path) -> Iterator[Path]:
    """Make a real group below `parent`, or skip the test. Its processes must have exited when the block ends."""
    directory = parent / f"test-{uuid.uuid4().hex[:8]}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    try:
        yield directory
    finally:
        until(lambda: _removed(directory))  # a group stays busy for a moment after its last process has exited


@contextmanager
def limited_group(mebibytes: int) -> Iterator[Callable[[], None]]:
    """Make a group with a memory limit, or skip the test; yield a function that moves its caller into it."""
    with new_group(own_directory("memory")) as group:
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            if (group / name).exists():
                (group / name).write_text(str(mebibytes * MIB))
        yield lambda: (group / "cgroup.procs").write_text(str(os.getpid()))


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


_GROWS = """
import sys
kept = []
print(flush=True)
for line in sys.stdin:
    kept.append(b"x" * (int(line) * 1024 * 1024))
    print(flush=True)
"""


@contextmanager
def memory_hog(*groups: Path) -> Iterator["MemoryHog"]:
    """Run a process in these groups that allocates memory on demand."""
    process = subprocess.Popen([sys.executable, "-c", _GROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        for group in groups:
            join(group, process.pid)
        yield MemoryHog(process)
    finally:
        process.kill()
        process.communicate()


def join(group: Path, pid: int) -> None:
    """Move a process into a group, or skip the test."""
    try:
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        pytest.skip(f"cannot move a process into a control group: {error}")


class MemoryHog:
    """A process that allocates memory on demand."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.pid = process.pid

    def allocate(self, mebibytes: int) -> bool:
        """Allocate memory; return False if the process was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{mebibytes}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() != ""

    def become_zombie(self) -> None:
        """Kill the process without reaping it."""
        self.process.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
