"""What the built-in server's gunicorn workers have in common: when they stop, and which clients keep them waiting."""

import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from gunicorn.workers.base import Worker

from drum_supervisor.fronts.wire import CROWDED_PATIENCE
from drum_supervisor.gunicorn_parameters import GunicornParameters
from drum_supervisor.hosts.process import STOP_SIGNALS

# How long a stop waits for a request that has not arrived.
SILENT_GRACE = 1.0

# How long a client may take to close after its answer.
CLOSING_SECONDS = 1.0

# Places that clients who are slow with their heads cannot take.
FOR_OTHERS = 16

STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)


class StoppableWorker(Worker):
    """A worker that knows when to stop, for a signal or after enough requests; how is the subclass's.

    While the application is loaded, stop signals have their default effect: there is nobody to answer yet, and the
    user's code may be busy where Python sees no signals. Afterwards the worker stays `alive` for gunicorn until it
    has drained, because what gunicorn does then differs from version to version and loses connections.

    Attributes:
        stop_began: None while it accepts connections.
        heads: connections whose head is being read, and since when.
    """

    app: Any  # with `progress`, `options` and `drain_seconds`, see gunicorn_host

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stop_began: float | None = None
        self.heads: dict[socket.socket, float] = {}
        self._most_requests = _most_requests(self.app.options.parameters)

    def init_signals(self) -> None:
        super().init_signals()
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGQUIT, self.handle_quit)

    def count(self) -> None:
        """A request is answered: after the last one begin to stop, the master starts another worker then."""
        if self.nr >= self._most_requests:
            self._begin_stop()

    def wake(self) -> None:
        """End the wait of the worker's loop."""
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b"\0")

    def end_slow_heads(self, excess: int) -> None:
        """Give up clients that take too long for their heads; where there are too many clients, so many sooner."""
        now = time.monotonic()
        began = self.heads.copy().items()
        slow = [each for each, since in began if now - since > CROWDED_PATIENCE][: max(excess, 0)]
        late = [each for each, since in began if now - since > self.app.options.head_seconds]
        for connection in {*slow, *late}:
            self.heads.pop(connection, None)
            end_reading(connection)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._begin_stop()

    def _begin_stop(self) -> None:
        # Once is enough: the master and whoever signals the process group may both ask, and more than once.
        if self.stop_began is None:
            self.stop_began = time.monotonic()
            self.wake()


def end_reading(connection: socket.socket) -> None:
    """Make the one that reads `connection` come to its end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


def _most_requests(parameters: GunicornParameters) -> int:
    if not parameters.max_requests:
        return sys.maxsize
    return parameters.max_requests + random.randint(0, parameters.max_requests_jitter)
