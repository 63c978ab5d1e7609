"""The gunicorn worker of the built-in server: gunicorn manages the process, our server its connections.

gunicorn's own threaded worker passes each request from its loop to a thread and back, and loses connections when it
stops, in every version differently.
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
from drum_supervisor.servers.process import STOP_SIGNALS, shorten_pauses
from drum_supervisor.servers.wsgi.server import ConnectionLimits, ThreadedServer

STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)

# Interval between heartbeats to the master.
HEARTBEAT_SECONDS = 1.0


class DrainingWorker(GunicornWorker):
    """A worker with a thread per connection; it answers everything accepted before it exits."""

    # While the application loads, stop signals keep their default action: no client waits yet, and the user's code may
    # block where Python runs no signal handlers. Later the worker stays `alive` for gunicorn until it has drained,
    # because gunicorn's reaction to a worker which is not depends on its version.

    server_type = ThreadedServer
    app: Any  # `server._GunicornApplication`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_stopping = False
        self._request_counter = itertools.count(1)  # thread-safe
        self._max_requests = _draw_request_limit(self.app.options.parameters)

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
            server.watch(self.PIPE[0], self._read_wakeup)
            shorten_pauses()
            self.app.init_report.report_ready()
            while not self._is_stopping:
                self._send_heartbeat()
                server.run_once(HEARTBEAT_SECONDS)
            server.stop()
            while server.is_draining():
                self._send_heartbeat()
                server.run_once(HEARTBEAT_SECONDS)

    def _limits(self) -> ConnectionLimits:
        options = self.app.options
        keep_alive = options.parameters.keep_alive
        keep_alive_seconds = ConnectionLimits.keep_alive_seconds if keep_alive is None else keep_alive
        return ConnectionLimits(self.app.drain_seconds, options.head_seconds, keep_alive_seconds)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request; at the request limit also begin to stop, so that the master starts another worker."""
        if next(self._request_counter) >= self._max_requests:
            self._begin_stop()
        body: Iterable[bytes] = self.wsgi(environ, start_response)
        return body

    def _send_heartbeat(self) -> None:
        self.notify()
        if os.getppid() != self.ppid:
            self._is_stopping = True  # the master has exited

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True  # the wake-up descriptor ends the wait

    def _begin_stop(self) -> None:
        self._is_stopping = True
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b"\0")

    def _read_wakeup(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.PIPE[0], 4096)


def _draw_request_limit(parameters: GunicornParameters) -> int:
    if not parameters.max_requests:
        return sys.maxsize
    return parameters.max_requests + random.randint(0, parameters.max_requests_jitter)
