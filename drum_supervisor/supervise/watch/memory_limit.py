"""--max-worker-memory: workers whose memory has grown too large are recycled."""

import random

from drum_supervisor.config.parsers import Share, size
from drum_supervisor.resources import proctree
from drum_supervisor.resources.cgroup import read_cgroup
from drum_supervisor.supervise.policy.events import RestartCause
from drum_supervisor.supervise.service.context import Context

CHECK_EVERY = 2.0  # seconds; a third more or less, so that workers that started together are not checked together
CHECKS = 3  # in a row


class MemoryLimitWatch:
    """Recycles ready workers whose resident memory stays above a limit.

    Args:
        limit: resident memory of a worker with its descendants, in bytes, or as a share of the limit of its control
            group; without such a limit a share has no effect.
        copies: how many model server processes one worker stands for: gunicorn's master has several.
    """

    def __init__(self, context: Context, limit: Share, copies: int) -> None:
        self._context = context
        self._limit = limit
        self._copies = copies
        self._times_above: dict[int, int] = {}
        self._plan()

    def _plan(self) -> None:
        self._context.timers.set(self, CHECK_EVERY * random.uniform(2 / 3, 4 / 3), self._check_all)

    def _check_all(self) -> None:
        ready = self._context.ready_pids()
        self._times_above = {pid: self._times_above.get(pid, 0) for pid in ready.values()}
        for slot, pid in ready.items():
            self._check(slot, pid)
        self._plan()

    def _check(self, slot: int, pid: int) -> None:
        used, limit = proctree.memory_bytes(pid), self._limit.of(read_cgroup(pid).memory.limit_bytes)
        if used is None or limit is None or used <= limit * self._copies:
            self._times_above[pid] = 0
            return
        self._times_above[pid] += 1
        if self._times_above[pid] == CHECKS:
            self._context.log.warning(
                f"worker {slot} (pid {pid}) uses {size(used)}, more than {size(limit * self._copies)} "
                "(--max-worker-memory), and is replaced",
                pid=pid,
            )
            self._context.recycle(slot, RestartCause.MEMORY_LIMIT)
