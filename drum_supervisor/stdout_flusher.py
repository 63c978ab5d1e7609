"""Flushes stdout in quiet periods, so that the output of user code reaches the container's log."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

# The longest delay under constant activity, as a multiple of the quiet period.
LONGEST_POSTPONEMENT = 5

# Time limit of `stop`: a flush blocks for ever on a pipe without a reader.
STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Stream(Protocol):
    def flush(self) -> object: ...


class StdoutFlusher:
    """A daemon thread which flushes stdout once activity has stopped for a while.

    It sleeps without activity. Threads do not survive a fork: start one in each worker.

    Args:
        max_time_until_flushing: the quiet period before a flush, in seconds. Constant activity delays the flush by at
            most LONGEST_POSTPONEMENT times that.
        stream: returns the stream to flush, each time: user code may replace `sys.stdout`.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        max_time_until_flushing: float = 1.0,
        *,
        stream: Callable[[], Stream | None] = lambda: sys.stdout,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet = max_time_until_flushing
        self._stream = stream
        self._now = now
        self._first_activity = self._last_activity = -math.inf
        self._active = threading.Event()  # there was activity since the last flush
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is alive."""
        if self.is_alive():
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="stdout-flusher", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Flush a last time and end the thread, within `timeout` seconds."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._flush()
            return
        self._stopping.set()
        self._active.set()  # wake it up
        thread.join(timeout)
        if thread.is_alive():
            _log.warning("stdout could not be flushed within %g seconds: nothing reads it.", timeout)

    def set_last_activity_time(self) -> None:
        """Note activity, which may have printed something. Cheap: it wakes the thread up at most once per flush."""
        self._last_activity = self._now()
        if not self._active.is_set():
            self._first_activity = self._last_activity
            self._active.set()

    def seconds_left(self) -> float:
        """Return the seconds until the next flush; infinity without activity since the last one."""
        if not self._active.is_set():
            return math.inf
        latest = self._first_activity + LONGEST_POSTPONEMENT * self._quiet
        return max(min(self._last_activity + self._quiet, latest) - self._now(), 0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._active.wait()
            if not self._stopping.wait(min(self.seconds_left(), threading.TIMEOUT_MAX)):
                self._flush_if_due()
        self._active.clear()
        self._flush()

    def _flush_if_due(self) -> None:
        if self.seconds_left() <= 0:
            self._active.clear()  # before the flush: output during it belongs to the next one
            self._flush()

    def _flush(self) -> None:
        try:
            stream = self._stream()
            if stream is not None:
                stream.flush()
        except Exception:  # noqa: BLE001 - closed, a broken pipe, any object of the user
            _log.debug("stdout could not be flushed.", exc_info=True)
