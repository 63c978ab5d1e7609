"""Wakes the engine's loop within microseconds: by signals, or by a call, with one byte on a pipe.

supervisord sleeps in poll(1), which a signal does not end (PEP 475 restarts it). A polled pipe does, and
`signal.set_wakeup_fd` writes to it from the C signal handler.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

from drum_supervisor.supervise.output.reader import Reader

SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR2,
    signal.SIGCHLD,
)  # as supervisord


class EarlySignals:
    """Records the signals that arrive within the block, before the loop handles them, in order."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __enter__(self) -> "EarlySignals":
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS if number != signal.SIGCHLD}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)


class Wakeup(Reader):
    """A pipe to this process; a read from it cannot fail in a way that matters."""

    def __init__(self) -> None:
        read_fd, self._write_fd = os.pipe()
        super().__init__(read_fd)
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)

    def on_signals(self) -> None:
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def wake(self) -> None:
        """Make the next poll return at once."""
        with suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._write_fd, b"\0")

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if signal.set_wakeup_fd(-1) not in (-1, self._write_fd):
            raise RuntimeError("the wakeup descriptor was changed by another module")
        os.close(self.fd)
        os.close(self._write_fd)

    def handle_read_event(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self.fd, 4096)) == 4096:
                pass
