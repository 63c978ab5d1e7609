"""A fake process table, for tests of what watches a server's own processes."""

from dataclasses import dataclass, field

MASTER = 1


def exited(status: int) -> int:
    return status << 8


@dataclass
class FakeProcessTable:
    """Processes below MASTER.

    Attributes:
        parents: the parent of each running process.
        helpers: those that do not look like workers.
        exiting: those that are about to exit.
        statuses: the wait status of each exited process, None if the kernel does not report it.
        opened: those with an open pidfd.
    """

    parents: dict[int, int] = field(default_factory=dict)
    helpers: set[int] = field(default_factory=set)
    exiting: set[int] = field(default_factory=set)
    statuses: dict[int, int | None] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    now: float = 0.0

    def fork(self, *pids: int, parent: int = MASTER, helper: bool = False) -> None:
        for pid in pids:
            self.parents[pid] = parent
            if helper:
                self.helpers.add(pid)

    def exit(self, pid: int, status: int | None) -> None:
        del self.parents[pid]
        self.statuses[pid] = status

    def children(self, pid: int) -> list[int]:
        return [child for child, parent in self.parents.items() if parent == pid]

    def looks_like_worker(self, pid: int, parent: int) -> bool | None:
        return None if pid in self.exiting else pid not in self.helpers

    def open_pidfd(self, pid: int) -> int:
        self.opened.add(pid)
        return pid

    def read_wait_status(self, pid: int, pidfd: int) -> int | None:
        assert pid == pidfd
        return self.statuses[pid]

    def close_pidfd(self, pidfd: int) -> None:
        self.opened.remove(pidfd)
