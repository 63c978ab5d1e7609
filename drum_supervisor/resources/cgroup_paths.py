"""Finds the directory of a process's control group for each controller, with version 1, 2 or both.

The path in /proc/PID/cgroup and the roots in a mount table are both relative to the cgroup namespace of the reader
(cgroup_namespaces(7)), so they match whatever namespace the process is in.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_PF_EXITING = 0x4  # include/linux/sched.h
_DELETED = " (deleted)"


@dataclass(frozen=True)
class Group:
    directory: Path
    highest: Path  # the topmost visible ancestor
    version: int

    @property
    def lineage(self) -> tuple[Path, ...]:
        """The group and its visible ancestors, from the bottom up."""
        parents = (self.directory, *self.directory.parents)
        return parents[: parents.index(self.highest) + 1]


@dataclass(frozen=True)
class Groups:
    """The groups of a process by controller; None without a group, and for the root group of the machine."""

    # They remain valid when the process is gone: its counters can still be read.
    memory: Group | None = None
    cpu: Group | None = None
    cpuacct: Group | None = None
    unified: Group | None = None


@dataclass(frozen=True)
class Membership:
    """A line of /proc/PID/cgroup."""

    controllers: frozenset[str]  # empty for version 2
    path: str


@dataclass(frozen=True)
class Mount:
    """A mounted cgroup file system."""

    root: str
    point: str
    version: int
    options: frozenset[str]


def find_groups(pid: int, root: Path = Path("/")) -> Groups:
    """Return the groups of `pid`, none when it is gone; `root` contains `proc` and the mounts."""
    process = root / "proc" / str(pid)
    memberships = parse_memberships(_text(process / "cgroup"))
    if _is_exiting(_text(process / "stat")):  # version 1 then reports "/", whatever the group was
        memberships = [membership for membership in memberships if not membership.controllers]
    if not memberships:
        return Groups()
    base, mounts = root, parse_mounts(_text(root / "proc/self/mountinfo"))
    if not mounts:  # the reader sees no control groups: use the mount table of the process, through its root
        base, mounts = process / "root", parse_mounts(_text(process / "mountinfo"))
    found = {name: _find(name, memberships, mounts, base) for name in ("memory", "cpu", "cpuacct", "unified")}
    return replace(Groups(**found), memory=find_memory_group(found["memory"]))


def find_memory_group(group: Group | None) -> Group | None:
    """Return the group charged for memory: in version 2, the lowest one with the memory controller."""
    if group is None or group.version == 1:
        return group
    with_memory = (directory for directory in group.lineage if (directory / "memory.current").exists())
    directory = next(with_memory, None)
    return None if directory is None else replace(group, directory=directory)


def parse_memberships(text: str) -> list[Membership]:
    """Read /proc/PID/cgroup, without malformed lines and removed groups."""
    fields = [line.split(":", 2) for line in text.split("\n")]
    return [
        Membership(frozenset(filter(None, parts[1].split(","))), parts[2])
        for parts in fields
        if len(parts) == 3 and parts[2].startswith("/") and not parts[2].endswith(_DELETED)
    ]


def parse_mounts(text: str) -> list[Mount]:
    """Read the cgroup file systems from /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    return [mount for line in text.split("\n") for mount in _mount(line.split(" "))]


def _mount(fields: list[str]) -> Iterator[Mount]:
    # 36 35 0:30 ROOT POINT rw,relatime [tag ...] - TYPE SOURCE SUPER_OPTIONS
    if "-" not in fields[6:]:
        return
    kind, *others = fields[fields.index("-", 6) + 1 :]
    if kind in ("cgroup", "cgroup2"):
        options = frozenset(others[-1].split(",")) if others else frozenset[str]()
        yield Mount(_unescaped(fields[3]), _unescaped(fields[4]), 2 if kind == "cgroup2" else 1, options)


def _unescaped(path: str) -> str:
    """Undo the kernel's octal escapes of whitespace, # and backslashes."""
    for code in ("040", "011", "012", "043", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def below(root: str, path: str) -> str | None:
    """Return `path` relative to `root`; None when it is elsewhere, or its names are unknown."""
    # outside the reader's namespace both begin with "/.."
    top, parts = root.strip("/").split("/"), path.strip("/").split("/")
    top, parts = [name for name in top if name], [name for name in parts if name]
    rest = parts[len(top) :]
    return "/".join(rest) if parts[: len(top)] == top and ".." not in rest else None


def _find(controller: str, memberships: Sequence[Membership], mounts: Sequence[Mount], base: Path) -> Group | None:
    membership = _membership(controller, memberships)
    if membership is None:
        return None
    version = 1 if membership.controllers else 2
    fitting = [mount for mount in mounts if mount.version == version and (version == 2 or controller in mount.options)]
    fitting.sort(key=lambda mount: mount.root.count("/") if mount.root != "/" else 0)  # the most ancestors first
    shown = [(base / mount.point.lstrip("/"), below(mount.root, membership.path)) for mount in fitting]
    exact = [(point, point / relative) for point, relative in shown if relative is not None]
    # Sandboxes mount a container's group as the root, but report the host's path for it.
    as_root = [(point, point) for point, _ in exact]
    found = (Group(directory, point, version) for point, directory in exact + as_root if _is_group(directory, version))
    return next(found, None)


def _membership(controller: str, memberships: Sequence[Membership]) -> Membership | None:
    """Return the version 1 group of `controller`, or else the version 2 group."""
    of_version_1 = (membership for membership in memberships if controller in membership.controllers)
    of_version_2 = (membership for membership in memberships if not membership.controllers)
    return next(of_version_1, None) or next(of_version_2, None)


def _is_group(directory: Path, version: int) -> bool:
    return directory.is_dir() and not _is_machine_root(directory, version)


def _is_machine_root(directory: Path, version: int) -> bool:
    # The kernel's root group, unlike that of a namespace, has (version 1) or lacks (version 2) some files.
    if version == 1:
        return (directory / "release_agent").exists()
    return not (directory / "cgroup.events").exists()


def _is_exiting(stat: str) -> bool:
    """Whether the process is exiting, a zombie, or gone: the flags of /proc/PID/stat (proc(5))."""
    fields = stat.rpartition(")")[2].split()
    return len(fields) < 7 or not fields[6].isdigit() or bool(int(fields[6]) & _PF_EXITING)


def _text(file: Path) -> str:
    try:
        return os.fsdecode(file.read_bytes())
    except OSError:
        return ""
