"""The source of all metrics: the supervisor, asked at most twice a second, by one thread at a time."""

import threading
import time
from collections.abc import Callable

from drum_supervisor.contract.control_client import ControlError
from drum_supervisor.metrics.snapshot import GpuReader, MetricsSnapshot, build_snapshot, read_fd_limit
from drum_supervisor.resources.stats import MetricsReport

TIMEOUT = 3.0  # seconds; the supervisor answers within milliseconds
CACHE_SECONDS = 0.5  # for snapshots and failures: further scrapes cost the supervisor nothing


class MetricsSource:
    """Returns a snapshot, at most CACHE_SECONDS old. Thread-safe.

    Args:
        fetch: `ControlClient.metrics`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[type[MetricsReport], float], MetricsReport],
        read_gpus: GpuReader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._read_gpus = read_gpus
        self._clock = clock
        self._lock = threading.Lock()
        self._cached_until = 0.0
        self._cached: MetricsSnapshot | ControlError = ControlError("not fetched yet")

    def snapshot(self) -> MetricsSnapshot:
        """Return the current snapshot; ControlError: the supervisor does not answer."""
        with self._lock:
            if self._clock() >= self._cached_until:
                self._cached = self._fetch_snapshot()
                self._cached_until = self._clock() + CACHE_SECONDS
            cached = self._cached
        if isinstance(cached, ControlError):
            raise ControlError(str(cached))
        return cached

    def _fetch_snapshot(self) -> MetricsSnapshot | ControlError:
        try:
            return build_snapshot(self._fetch(MetricsReport, CACHE_SECONDS), read_fd_limit, self._read_gpus)
        except ControlError as error:
            return error
