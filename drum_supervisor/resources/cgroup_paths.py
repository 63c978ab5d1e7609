"""Where the kernel shows the control groups of a process, for each controller: version 1, 2 and hosts with both.

The path in /proc/PID/cgroup and the roots in a mount table are both relative to the control group namespace of
whoever reads them (cgroup_namespaces(7)), so that the two belong together whatever namespace the process is in.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_PF_EXITING = 0x4  # include/linux/sched.h
_DELETED = " (deleted)"


@dataclass(frozen=True)
class Group:
    """A control group as it is shown: its directory, the highest one above it that can be seen, and the version."""

    directory: Path
    highest: Path
    version: int

    @property
    def way_up(self) -> tuple[Path, ...]:
        """The directory and those above it that are groups, the lowest first."""
        parents = (self.directory, *self.directory.parents)
        return parents[: parents.index(self.highest) + 1]


@dataclass(frozen=True)
class Groups:
    """The groups of a process by controller; None where there is no group, or it is that of the whole machine.

    They stay what they are when the process is gone: its counters can still be read.
    """

    memory: Group | None = None
    cpu: Group | None = None
    cpuacct: Group | None = None
    unified: Group | None = None


@dataclass(frozen=True)
class Membership:
    """A line of /proc/PID/cgroup; version 2 names no controllers."""

    controllers: frozenset[str]
    path: str


@dataclass(frozen=True)
class Mount:
    """A control group file system in a mount table."""

    root: str
    point: str
    version: int
    options: frozenset[str]


def find_groups(pid: int, root: Path = Path("/")) -> Groups:
    """Return where the groups of `pid` are; nothing of it is known when it is gone.

    The mount table is that of the reader, who opens the files; if that has no control groups, it is the one of the
    process, and the files are opened through /proc/PID/root.

    Args:
        pid: the process.
        root: the folder below which `proc` and the mounts are.
    """
    process = root / "proc" / str(pid)
    memberships = parse_memberships(_text(process / "cgroup"))
    if _is_exiting(_text(process / "stat")):  # version 1 says "/" then, whatever the group was
        memberships = [membership for membership in memberships if not membership.controllers]
    if not memberships:
        return Groups()
    base, mounts = root, parse_mounts(_text(root / "proc/self/mountinfo"))
    if not mounts:
        base, mounts = process / "root", parse_mounts(_text(process / "mountinfo"))
    found = {name: _find(name, memberships, mounts, base) for name in ("memory", "cpu", "cpuacct", "unified")}
    return replace(Groups(**found), memory=charged(found["memory"]))


def charged(group: Group | None) -> Group | None:
    """Return the group that is charged for memory: of version 2, the first one on the way up with that controller."""
    if group is None or group.version == 1:
        return group
    with_memory = (directory for directory in group.way_up if (directory / "memory.current").exists())
    directory = next(with_memory, None)
    return None if directory is None else replace(group, directory=directory)


def parse_memberships(text: str) -> list[Membership]:
    """Read /proc/PID/cgroup; lines of another form, and groups that are removed, are left out."""
    fields = [line.split(":", 2) for line in text.split("\n")]
    return [
        Membership(frozenset(filter(None, parts[1].split(","))), parts[2])
        for parts in fields
        if len(parts) == 3 and parts[2].startswith("/") and not parts[2].endswith(_DELETED)
    ]


def parse_mounts(text: str) -> list[Mount]:
    """Return the control group file systems of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    return [mount for line in text.split("\n") for mount in _mount(line.split(" "))]


def _mount(fields: list[str]) -> Iterator[Mount]:
    # 36 35 0:30 ROOT POINT rw,relatime [tag ...] - TYPE SOURCE SUPER_OPTIONS
    if "-" not in fields[6:]:
        return
    kind, *further = fields[fields.index("-", 6) + 1 :]
    if kind in ("cgroup", "cgroup2"):
        options = frozenset(further[-1].split(",")) if further else frozenset[str]()
        yield Mount(_unescaped(fields[3]), _unescaped(fields[4]), 2 if kind == "cgroup2" else 1, options)


def _unescaped(path: str) -> str:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    for code in ("040", "011", "012", "043", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def below(root: str, path: str) -> str | None:
    """Return where `path` is below `root`; None when it is elsewhere, or in folders whose names nobody can tell.

    Outside of the reader's namespace both begin with "/..".
    """
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
    fitting.sort(key=lambda mount: mount.root.count("/") if mount.root != "/" else 0)  # who sees most of the way up
    shown = [(base / mount.point.lstrip("/"), below(mount.root, membership.path)) for mount in fitting]
    exact = [(point, point / relative) for point, relative in shown if relative is not None]
    # Sandboxes show a container's group as if it were the root, beside the path that the host has for it.
    as_root = [(point, point) for point, _ in exact]
    found = (Group(directory, point, version) for point, directory in exact + as_root if _is_group(directory, version))
    return next(found, None)


def _membership(controller: str, memberships: Sequence[Membership]) -> Membership | None:
    """Return the version 1 group of `controller`; if no such hierarchy has it, the group of version 2."""
    of_version_1 = (membership for membership in memberships if controller in membership.controllers)
    of_version_2 = (membership for membership in memberships if not membership.controllers)
    return next(of_version_1, None) or next(of_version_2, None)


def _is_group(directory: Path, version: int) -> bool:
    return directory.is_dir() and not _is_whole_machine(directory, version)


def _is_whole_machine(directory: Path, version: int) -> bool:
    """Whether this is the root group of the kernel, not only of a namespace; it alone has, or lacks, some files."""
    if version == 1:
        return (directory / "release_agent").exists()
    return not (directory / "cgroup.events").exists()


def _is_exiting(stat: str) -> bool:
    """Whether the process is about to end, has ended (a zombie), or is gone; flags of /proc/PID/stat (proc(5))."""
    fields = stat.rpartition(")")[2].split()
    return len(fields) < 7 or not fields[6].isdigit() or bool(int(fields[6]) & _PF_EXITING)


def _text(file: Path) -> str:
    try:
        return os.fsdecode(file.read_bytes())
    except OSError:
        return ""
