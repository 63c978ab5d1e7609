"""The gunicorn worker of the built-in server: it reports to the master's supervisor, and drains as the others do."""

import os
import selectors
import signal
from contextlib import suppress
from typing import Any

from drum_supervisor.servers.process import STOP_SIGNALS, shorten_pauses
from drum_supervisor.servers.wsgi.worker import ConnectionLimits, ThreadedWorker

STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)


class DrainingWorker(ThreadedWorker):
    """A worker with a thread per request; it answers everything accepted before it exits."""

    # While the application loads, stop signals keep their default action: no client waits yet, and the user's code may
    # block where Python runs no signal handlers.

    app: Any  # `server._GunicornApplication`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits: ConnectionLimits = self.app.limits

    def init_signals(self) -> None:
        super().init_signals()
        for number in STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        for number in STOP_SIGNALS:
            signal.signal(number, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_quit)

    def run(self) -> None:
        # any thread may receive a signal, and the main thread, in which Python runs the handler, would sleep on
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, self._read_wakeup)
        shorten_pauses()
        self.app.init_report.report_ready()
        super().run()

    def _read_wakeup(self, pipe: int) -> None:
        with suppress(BlockingIOError):
            os.read(pipe, 4096)
