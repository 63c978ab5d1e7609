"""The trees of processes below the supervisor, read from /proc: only the tree, never the whole host.

An orphan belongs to the program that its environment names, and one that names none to the model server.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from drum_supervisor.contract.fds import PROGRAM_VARIABLE

PIDFD_GET_INFO = 0xC040FF0B  # linux/pidfd.h; of processes that are reaped already since Linux 6.15
PIDFD_INFO_EXIT = 8
# The first is ours, and stays what it is; supervisord sets the other one in every child, and names may change.
_NAME_VARIABLES = (f"{PROGRAM_VARIABLE}=".encode(), b"SUPERVISOR_PROCESS_NAME=")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def is_own_proc() -> bool:
    """Return whether /proc is of our PID namespace: after `unshare --pid` alone its numbers mean other processes."""
    with suppress(OSError):
        return os.readlink("/proc/self") == str(os.getpid())
    return False


def children(pid: int) -> list[int]:
    """Return the children of `pid`; none when it is gone, or when this /proc does not tell of ours."""
    found: list[int] = []
    if not is_own_proc():
        return found
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """Yield all processes below `pid`."""
    for child in children(pid):
        yield child
        yield from descendants(child)


UNKNOWN = "?"
"""The program of a process that is just changing, in the midst of an exec: it can be told a moment later."""


def program_of(pid: int) -> str:
    """Return the program that `pid` descends from, by its environment; "" when that does not say."""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        environment = file.read()
        entries = environment.split(b"\0")
        for name in _NAME_VARIABLES:
            if (found := next((entry for entry in entries if entry.startswith(name)), None)) is not None:
                return os.fsdecode(found[len(name) :])
        if not environment and _is_in_exec(pid):
            return UNKNOWN
    return ""


def _is_in_exec(pid: int) -> bool:
    """Whether the kernel has not placed the environment yet: env_end of /proc/PID/stat is 0 (proc(5))."""
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[48] == b"0"
    return False


def is_zombie(pid: int) -> bool:
    """Return whether `pid` is dead already and only waits to be reaped; a process that is gone counts as well."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def ended(pid: int, pidfd: int) -> int | None:
    """Return the wait status of a dead process that is not our child; None where the kernel does not tell.

    Linux 6.15 keeps it for whoever holds a pidfd; an earlier one shows it until the parent has asked for it.
    """
    with suppress(OSError):
        if pidfd >= 0:
            answer = fcntl.ioctl(pidfd, PIDFD_GET_INFO, struct.pack("Q56x", PIDFD_INFO_EXIT))
            if struct.unpack_from("Q", answer)[0] & PIDFD_INFO_EXIT:
                return int(struct.unpack_from("i", answer, 60)[0])
    with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
        if fields[0] == b"Z":
            return int(fields[49])
    return None


def looks_like_a_worker(pid: int, parent: int) -> bool | None:
    """Return whether `pid` runs the same program as its parent and shares a socket with it, the listener presumably.

    A process forked to serve does; helpers that are run do not, for Python closes descriptors over an exec, and
    they are other programs. A shell's children are its commands, whatever they share. None when one of them is about
    to be gone: it has no program any more, and one that has much memory to give back is in that state for a while.
    """
    with suppress(PermissionError):
        try:
            program = os.readlink(f"/proc/{parent}/exe")
            if program == os.readlink(f"/proc/{pid}/exe") and os.path.basename(program) not in _SHELLS:
                return bool(_sockets(pid) & _sockets(parent))
        except (FileNotFoundError, ProcessLookupError):
            return None
    return False


_SHELLS = frozenset("ash bash busybox dash ksh mksh sh zsh".split())


def _sockets(pid: int) -> set[str]:
    """Return the sockets that a process has open, the standard three aside: these may be the log's."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{number}")
            if int(number) > 2 and target.startswith("socket:"):
                found.add(target)
    return found


def signal_each(pids: Iterable[int], number: int) -> set[int]:
    """Send a signal to each process that is still there; return those that we have no power over."""
    return {pid for pid in pids if not _may_signal(pid, number)}


def _may_signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return True


MOST_PROCESSES = 1000
"""Of one program, whose memory is added up: each takes a tenth of a millisecond, and nothing else is done meanwhile."""


def memory_bytes(pid: int, most: int = MOST_PROCESSES) -> int | None:
    """Return the resident memory of `pid` and all its descendants; None when it is gone, or they are too many."""
    below = list(islice(descendants(pid), most + 1))
    if len(below) > most:
        return None
    try:
        return _resident(pid) + sum(map(_resident_or_zero, below))
    except OSError:
        return None


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


def _resident_or_zero(pid: int) -> int:
    with suppress(OSError):
        return _resident(pid)
    return 0
