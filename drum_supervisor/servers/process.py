"""What every serving process does: take the listener, obey stop signals, answer without long pauses, and end."""

import atexit
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from drum_supervisor.contract.exits import signal_exit_code
from drum_supervisor.contract.listener import Address, address_of, bind, inherit_listener
from drum_supervisor.http.encoding import HEAD_SECONDS

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# How long a process may take to exit once it has nothing left to do: threads of the user's code may never finish.
EXIT_SECONDS = 2.0


# How long a thread may compute while another one waits for the interpreter lock. The interval starts again whenever the
# lock is released, and pandas and scikit-learn release it several times per millisecond, too briefly for another thread
# to wake up. With Python's default of 5 ms, or with 1 ms, an event loop waits until all predictions are done. With 16
# clients of FastAPI the 99th percentile of /ping fell from 30 ms to 17, and predictions per second by 0 to 15 %; on
# Flask and gunicorn predictions did not slow down.
SWITCH_SECONDS = 0.0002


class Stopped(BaseException):
    """A stop was requested with nothing to finish. Not an Exception: code which catches errors must not catch it."""


class StopSignals:
    """TERM and INT: the first one requests a stop, the second one ends the process at once.

    `fileno()` becomes readable when a signal arrives; `read_wakeup` says whether it requested a stop. Blocking waits
    must watch it: any thread may receive a signal, and the main thread, in which Python runs the handler, would sleep
    on. The byte written to the pipe ends its wait (`signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self.requested = False
        self._raises = False
        self._exit_code: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def install(self) -> None:
        """Install the handlers, again if the user's code has replaced them."""
        # Python allows no signal handlers outside the main thread
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)
            signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def close(self) -> None:
        """Close the pipe; other handlers must be installed by now."""
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        return self._reader

    def read_wakeup(self) -> bool:
        """Empty the pipe, and return whether a stop is requested."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        return self.requested

    @contextmanager
    def raise_on_stop(self) -> Iterator[None]:
        """Within the block, a stop raises Stopped in the main thread: no client has to be answered yet."""
        self._raises = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._raises = False

    def exit(self, code: int) -> NoReturn:
        """Exit with `code`, at the latest after EXIT_SECONDS or at the next signal."""
        self._exit_code = code
        threading.Thread(target=_exit_after, args=(EXIT_SECONDS, code), daemon=True).start()
        sys.exit(code)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._exit_code is not None:
            os._exit(self._exit_code)
        if self.requested:
            os._exit(signal_exit_code(number))
        self.requested = True
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")  # the wake-up descriptor may be another one, of the user's event loop
        if self._raises:
            # The user's code may catch everything, and Python drops exceptions raised within a __del__.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
            signal.setitimer(signal.ITIMER_REAL, EXIT_SECONDS)
            raise Stopped


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Handle the stop signals within the block; restore the earlier handlers after it."""
    stop = StopSignals()
    try:
        with _handlers_restored():
            stop.install()
            yield stop
    finally:
        stop.close()


@contextmanager
def stop_signals_ignored() -> Iterator[None]:
    """Ignore the stop signals within the block, which must be short; works only in the main thread."""
    with _handlers_restored() as may_install:
        for number in STOP_SIGNALS if may_install else ():
            signal.signal(number, signal.SIG_IGN)
        yield


@contextmanager
def _handlers_restored() -> Iterator[bool]:
    """Restore the handlers of the stop signals after the block; yield whether this thread may set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    try:
        yield True
    finally:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number, handler in before:
            # None: not set from Python, and Python cannot set it again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@dataclass(frozen=True)
class ServerConfig:
    """What every server serves with."""

    listener: socket.socket  # bound and non-blocking; the server closes it when it stops
    stop: StopSignals
    on_ready: Callable[[], None]  # called once connections are accepted
    drain_seconds: float  # how long requests already received may take after the stop
    head_seconds: float = HEAD_SECONDS  # how long a client may take to send the head of a request


def shorten_pauses() -> None:
    """Keep garbage collection and computing threads from delaying requests; call before the first request."""
    # A full collection over the 160,000 objects of pandas, scikit-learn and a framework stops everything for 80 ms.
    # Collect once now, and exempt what is left: it lives as long as the process.
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else finalizers at exit would find the objects they use already gone
    sys.setswitchinterval(SWITCH_SECONDS)


def take_listener(address: Address) -> socket.socket:
    """Return the supervisor's listener; without one, bind `address` and log it, or raise AddressError."""
    listener = inherit_listener()
    if listener is None:
        listener = bind(address)
        log_line(f"Serving on {address_of(listener).url()} (pid {os.getpid()}).")
    return listener


def log_line(text: str) -> None:
    """Write one line to stderr, without the prefix of log records."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def drain_seconds(stop_timeout: float, finish_seconds: float = 0.0) -> float:
    """Return how long requests may take after TERM if the process needs `finish_seconds` more, and KILL follows."""
    return max(stop_timeout - finish_seconds - EXIT_SECONDS, stop_timeout / 2)


def _exit_after(seconds: float, code: int) -> None:
    time.sleep(seconds)
    os._exit(code)
