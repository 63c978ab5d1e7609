"""Recycles workers whose memory has grown too large (--max-worker-memory)."""

import random

from drum_supervisor.config.parsers import MemoryAmount, format_size
from drum_supervisor.resources import proctree
from drum_supervisor.resources.cgroup import read_cgroup
from drum_supervisor.supervise.service.context import Context

CHECK_INTERVAL = 2.0  # seconds, give or take a third, so that workers that started together are checked apart
CHECKS = 3  # in a row


class MemoryLimitWatch:
    """Recycles ready workers whose resident memory stays above a limit.

    Args:
        limit: of the RSS of a worker with its descendants: bytes, or a share of the memory limit of its control group.
            A share has no effect where there is no memory limit.
        copies: the number of model server processes in one worker: gunicorn's master has several.
    """

    def __init__(self, context: Context, limit: MemoryAmount, copies: int) -> None:
        self._context = context
        self._limit = limit
        self._copies = copies
        self._times_above: dict[int, int] = {}
        self._schedule()

    def _schedule(self) -> None:
        self._context.timers.set(self, CHECK_INTERVAL * random.uniform(2 / 3, 4 / 3), self._check_all)

    def _check_all(self) -> None:
        ready = self._context.ready_pids()
        self._times_above = {pid: self._times_above.get(pid, 0) for pid in ready.values()}
        for slot, pid in ready.items():
            self._check(slot, pid)
        self._schedule()

    def _check(self, slot: int, pid: int) -> None:
        container_limit = read_cgroup(pid).memory.limit_bytes if self._limit.percent else None
        used, limit = proctree.read_tree_rss(pid), self._limit.of(container_limit)
        if used is None or limit is None or used <= limit * self._copies:
            self._times_above[pid] = 0
            return
        self._times_above[pid] += 1
        if self._times_above[pid] == CHECKS:
            self._context.log.warning(
                f"worker {slot} (pid {pid}) uses {format_size(used)}, more than {format_size(limit * self._copies)} "
                "(--max-worker-memory); recycling it",
                pid=pid,
            )
            self._context.recycle_for_memory(slot)
