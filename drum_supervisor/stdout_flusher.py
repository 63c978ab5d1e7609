"""Flushes stdout while nothing happens, so that what the user's code prints reaches the log of its container."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

# A server that is never quiet is flushed all the same, after this many times the time.
LONGEST_POSTPONEMENT = 5

# How long `stop` waits: a flush blocks for ever when nobody reads the pipe.
STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Stream(Protocol):
    """What is flushed."""

    def flush(self) -> object:
        """Write out what was buffered."""


class StdoutFlusher:
    """A daemon thread that flushes stdout once when there was activity, and then none for some time.

    Between activities it sleeps without waking up. Threads do not survive a fork: start one in each worker.

    Args:
        max_time_until_flushing: how many seconds of quiet come before the flush. Activity that never pauses
            postpones it to LONGEST_POSTPONEMENT times that, not for ever.
        stream: returns what to flush; asked each time, because the user's code may replace `sys.stdout`.
        now: the clock.
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
        """Start the thread; does nothing while it is alive."""
        if self.is_alive():
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="stdout-flusher", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Flush for the last time and end the thread; wait no longer than `timeout` seconds for both."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._flush()
            return
        self._stopping.set()
        self._active.set()  # it may be asleep
        thread.join(timeout)
        if thread.is_alive():
            _log.warning("stdout could not be flushed within %g seconds: nobody reads it.", timeout)

    def set_last_activity_time(self) -> None:
        """Note that something may have been printed just now. Cheap, and it does not wake the thread up twice."""
        self._last_activity = self._now()
        if not self._active.is_set():
            self._first_activity = self._last_activity
            self._active.set()

    def seconds_left(self) -> float:
        """Return how long to wait until the next flush; infinity when there was no activity since the last one."""
        if not self._active.is_set():
            return math.inf
        postponed = self._first_activity + LONGEST_POSTPONEMENT * self._quiet
        return max(min(self._last_activity + self._quiet, postponed) - self._now(), 0.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._active.wait()
            if not self._stopping.wait(min(self.seconds_left(), threading.TIMEOUT_MAX)):
                self._flush_if_due()
        self._active.clear()
        self._flush()

    def _flush_if_due(self) -> None:
        if self.seconds_left() <= 0:
            self._active.clear()  # before the flush: what is printed during it is left for the next one
            self._flush()

    def _flush(self) -> None:
        try:
            stream = self._stream()
            if stream is not None:
                stream.flush()
        except Exception:  # noqa: BLE001 - closed, a broken pipe, an object of the user's that is no file
            _log.debug("stdout could not be flushed.", exc_info=True)
