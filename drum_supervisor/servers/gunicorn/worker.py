"""gunicorn's worker for the built-in server: a process of gunicorn's, whose connections are our server's.

gunicorn's own threaded worker hands each request from its loop to a thread and back, and loses connections when it
stops, each version in its own way.
"""

import itertools
import os
import random
import signal
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from types import FrameType
from typing import Any

from gunicorn.workers.base import Worker as GunicornWorker

from drum_supervisor.config.gunicorn import GunicornParameters
from drum_supervisor.http.encoding import KEEP_ALIVE_SECONDS, PIECE
from drum_supervisor.servers.process import STOP_SIGNALS, shorten_pauses
from drum_supervisor.servers.wsgi.server import Limits, Server

STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)

# How often a worker shows its master a sign of life.
BEAT_SECONDS = 1.0


class Worker(GunicornWorker):
    """A worker with a thread for each connection, which answers all that it has accepted before it ends.

    While the application is loaded, stop signals have their default effect: there is nobody to answer yet, and the
    user's code may be busy where Python sees no signals. Afterwards the worker stays `alive` for gunicorn until it
    has drained, because what gunicorn does then differs from version to version.
    """

    server_type = Server
    app: Any  # with `progress`, `options` and `drain_seconds`, see gunicorn_host

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_stopping = False
        self._requests = itertools.count(1)  # several threads count
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

    def run(self) -> None:
        (listener,) = (getattr(each, "sock", each) for each in self.sockets)  # gunicorn's class, or gevent's
        with closing(self.server_type(self._answer, listener, self._limits(), self.cfg.workers > 1)) as server:
            server.watch(self.PIPE[0], self._take_wake)
            shorten_pauses()
            self.app.progress.become_ready()
            while not self._is_stopping:
                self._beat()
                server.turn(BEAT_SECONDS)
            server.stop()
            while server.is_anybody():
                self._beat()
                server.turn(BEAT_SECONDS)

    def _limits(self) -> Limits:
        options = self.app.options
        keep_alive = options.parameters.keep_alive
        keep_alive_seconds = KEEP_ALIVE_SECONDS if keep_alive is None else keep_alive
        return Limits(self.app.drain_seconds, options.head_seconds, keep_alive_seconds)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request, and with the last one begin to stop: the master starts another worker then."""
        if next(self._requests) >= self._most_requests:
            self._begin_stop()
        answer: Iterable[bytes] = self.wsgi(environ, start_response)
        return answer

    def _beat(self) -> None:
        self.notify()
        if os.getppid() != self.ppid:
            self._is_stopping = True  # the master is gone

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True  # each signal also writes into the pipe

    def _begin_stop(self) -> None:
        self._is_stopping = True
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b"\0")

    def _take_wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.PIPE[0], PIECE)


def _most_requests(parameters: GunicornParameters) -> int:
    if not parameters.max_requests:
        return sys.maxsize
    return parameters.max_requests + random.randint(0, parameters.max_requests_jitter)
