"""What every child process does: take the listener, obey signals, answer without long pauses, and end."""

import atexit
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from drum_supervisor.contract.exits import of_signal
from drum_supervisor.contract.listener import Address, address_of, bind, inherit_listener

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

# How long a process may take to end once it has nothing left to do: threads of the user's code may never finish.
EXIT_SECONDS = 2.0


# How long a thread may compute while another one wants to. That counts from when the interpreter was last given up, and
# pandas and scikit-learn give it up several times in a millisecond, for too short for another thread to wake up: with
# Python's own 5 ms, as with 1 ms, an event loop waits until all predictions are made. With 16 clients of FastAPI the
# 99th percentile of /ping fell from 30 ms to 17, and the predictions by 0 to 15 %; those of Flask and gunicorn did not.
SWITCH_SECONDS = 0.0002


class Stopped(BaseException):
    """A stop was asked for while there was nothing to finish. No error: what catches errors must not catch it."""


class StopSignals:
    """TERM and INT: the first one asks for a stop, the second one ends the process at once.

    `fileno()` is readable when a signal has arrived, perhaps another one: ask `woken`. Whoever waits must watch it, for
    a signal need not end a wait: any thread may take it, and then the main thread, whose Python would handle it,
    sleeps on. The byte that is written then does end it (`signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self.requested = False
        self._ends_at_once = False
        self._exit_code: int | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def install(self) -> None:
        """Take the signals, also after somebody else took them: the user's code may have.

        Outside of the main thread Python lets nobody have them.
        """
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)
            signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def close(self) -> None:
        """Give the pipe back; the signals must be somebody else's by now."""
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        return self._reader

    def woken(self) -> bool:
        """Take what has made `fileno()` readable, and return whether a stop has been asked for."""
        with suppress(BlockingIOError):
            os.read(self._reader, 4096)
        return self.requested

    @contextmanager
    def ending_at_once(self) -> Iterator[None]:
        """Within the block a stop raises Stopped wherever the main thread is: there is no client to answer yet."""
        self._ends_at_once = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._ends_at_once = False

    def leave(self, code: int) -> NoReturn:
        """End the process with `code`, within EXIT_SECONDS, or at the next signal."""
        self._exit_code = code
        threading.Thread(target=_exit_after, args=(EXIT_SECONDS, code), daemon=True).start()
        sys.exit(code)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._exit_code is not None:
            os._exit(self._exit_code)
        if self.requested:
            os._exit(of_signal(number))
        self.requested = True
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")  # somebody else may have the wake-ups, an event loop of the user's
        if self._ends_at_once:
            # The user's code may catch everything, and Python drops what is raised within a __del__.
            signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
            signal.setitimer(signal.ITIMER_REAL, EXIT_SECONDS)
            raise Stopped


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Take the signals for the block, and give them back."""
    stop = StopSignals()
    try:
        with _handlers_restored():
            stop.install()
            yield stop
    finally:
        stop.close()


@contextmanager
def stop_signals_ignored() -> Iterator[None]:
    """Let nobody stop the process within the block, which must be a short one; only in the main thread."""
    with _handlers_restored() as may_install:
        for number in STOP_SIGNALS if may_install else ():
            signal.signal(number, signal.SIG_IGN)
        yield


@contextmanager
def _handlers_restored() -> Iterator[bool]:
    """Put the handlers of the stop signals back after the block; say whether this thread may set any."""
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


def shorten_pauses() -> None:
    """Let nothing that is loaded by now, or computes, keep a request waiting for long; called before the first one.

    Looking for garbage among the 160,000 objects of pandas, scikit-learn and a framework takes 80 ms, in which nothing
    else happens. What is garbage already goes now; the rest stays as long as the process, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or what looks at others when it goes finds them gone already
    sys.setswitchinterval(SWITCH_SECONDS)


def take_listener(address: Address) -> socket.socket:
    """Return the listener of the supervisor; without one, bind `address` and say where.

    Raises:
        AddressError: it cannot be bound.
    """
    listener = inherit_listener()
    if listener is None:
        listener = bind(address)
        tell(f"Serving on {address_of(listener).url()} (pid {os.getpid()}).")
    return listener


def tell(text: str) -> None:
    """Write one line for the people who read the log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def drain_seconds(stop_timeout: float, finish_seconds: float = 0.0) -> float:
    """Return how long requests may take after a stop, so that the process has ended when TERM becomes KILL.

    Args:
        stop_timeout: seconds between the two.
        finish_seconds: how long it may take from the last answer until the process exits.
    """
    return max(stop_timeout - finish_seconds - EXIT_SECONDS, stop_timeout / 2)


def _exit_after(seconds: float, code: int) -> None:
    time.sleep(seconds)
    os._exit(code)
