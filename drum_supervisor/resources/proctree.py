"""Process trees below the supervisor, read from /proc: only these trees, never the whole host.

An orphan belongs to the program named in its environment; without such a name, to the model server.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from drum_supervisor.contract.fds import PROGRAM_VARIABLE
from drum_supervisor.resources import procfs

PIDFD_GET_INFO = 0xC040FF0B  # linux/pidfd.h; since Linux 6.15 also of reaped processes
PIDFD_INFO_EXIT = 8

# The first is ours and constant; supervisord sets the second in every child, and a program's name may change.
_NAME_VARIABLES = (f"{PROGRAM_VARIABLE}=".encode(), b"SUPERVISOR_PROCESS_NAME=")


def is_proc_of_own_namespace() -> bool:
    """Return whether /proc is of our PID namespace: after `unshare --pid` alone its pids mean other processes."""
    with suppress(OSError):
        return os.readlink("/proc/self") == str(os.getpid())
    return False


def children(pid: int) -> list[int]:
    """Return the children of `pid`; none when it is gone, or /proc is of another PID namespace."""
    return procfs.children(pid) if is_proc_of_own_namespace() else []


def descendants(pid: int) -> Iterator[int]:
    """Yield all descendants, parents before children."""
    if is_proc_of_own_namespace():
        yield from (each for each in procfs.walk(pid) if each is not None and each != pid)


UNKNOWN = "?"
"""The program of a process in the middle of an exec: read it again a moment later."""


def read_program(pid: int) -> str:
    """Return the program which the environment of `pid` names; "" when it names none."""
    with suppress(OSError):
        entries = read_environment(pid)
        for name in _NAME_VARIABLES:
            if (found := next((entry for entry in entries if entry.startswith(name)), None)) is not None:
                return os.fsdecode(found[len(name) :])
        if not entries and _is_in_exec(pid):
            return UNKNOWN
    return ""


def read_environment(pid: int) -> list[bytes]:
    """Return the entries `NAME=value` that `pid` was started with; OSError: it is gone, or not accessible."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        return [entry for entry in file.read().split(b"\0") if entry]


def _is_in_exec(pid: int) -> bool:
    """Whether the kernel has not placed the environment yet: env_end of /proc/PID/stat is 0 (proc(5))."""
    with suppress(OSError, IndexError):
        return procfs.read_stat_fields(pid)[48] == b"0"
    return False


def is_zombie(pid: int) -> bool:
    """Return whether `pid` is dead: a zombie, or reaped already."""
    try:
        return procfs.read_stat_fields(pid)[0] in (b"Z", b"X")
    except OSError:
        return True


def read_wait_status(pid: int, pidfd: int) -> int | None:
    """Return the wait status of a dead process which is not our child; None when the kernel does not report it."""
    # Linux 6.15 keeps it for the holder of a pidfd; earlier kernels show it until the parent has reaped the process.
    with suppress(OSError):
        if pidfd >= 0:
            answer = fcntl.ioctl(pidfd, PIDFD_GET_INFO, struct.pack("Q56x", PIDFD_INFO_EXIT))
            if struct.unpack_from("Q", answer)[0] & PIDFD_INFO_EXIT:
                return int(struct.unpack_from("i", answer, 60)[0])
    with suppress(OSError, IndexError):
        fields = procfs.read_stat_fields(pid)
        if fields[0] == b"Z":
            return int(fields[49])
    return None


def looks_like_worker(pid: int, parent: int) -> bool | None:
    """Return whether `pid` runs its parent's program and shares a socket with it; None when one of the two is exiting.

    The socket is presumably the listener. Helpers are other programs, and Python closes descriptors on exec.
    """
    # The children of a shell are its commands, whatever they share. An exiting process has no program any more, and one
    # with much memory stays in that state for a while.
    with suppress(PermissionError):
        try:
            program = os.readlink(f"/proc/{parent}/exe")
            if program == os.readlink(f"/proc/{pid}/exe") and os.path.basename(program) not in _SHELLS:
                return bool(_sockets_but_output(pid) & _sockets_but_output(parent))
        except (FileNotFoundError, ProcessLookupError):
            return None
    return False


_SHELLS = frozenset("ash bash busybox dash ksh mksh sh zsh".split())


def _sockets_but_output(pid: int) -> set[int]:
    # stdin, stdout and stderr may be the log's.
    return {inode for fd, inode in read_sockets(pid).items() if fd > 2}


def read_sockets(pid: int) -> dict[int, int]:
    """Return the inodes of the open sockets by descriptor; OSError: it is gone, or not accessible."""
    found = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if target.startswith("socket:["):
                found[int(number)] = int(target[8:-1])
    return found


def signal_each(pids: Iterable[int], number: int) -> set[int]:
    """Send a signal to each process that still exists; return those we are not permitted to signal."""
    return {pid for pid in pids if not _may_signal(pid, number)}


def _may_signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


MAX_PROCESSES = 1000  # of a tree whose memory is summed: each blocks the caller for a tenth of a millisecond


def read_tree_rss(pid: int, max_processes: int = MAX_PROCESSES) -> int | None:
    """Return the RSS of `pid` and all its descendants; None when it is gone, or has too many descendants."""
    below = list(islice(descendants(pid), max_processes + 1))
    if len(below) > max_processes:
        return None
    root, *others = map(procfs.read_stat, (pid, *below))
    return None if root is None else root.rss_bytes + sum(stat.rss_bytes for stat in others if stat is not None)
