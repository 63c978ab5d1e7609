"""Runs a WSGI application in this process, on gunicorn's threaded worker without its master."""

import logging
import os
import selectors
from contextlib import closing

from gunicorn.config import Config

from drum_supervisor.fronts.wsgi import Application
from drum_supervisor.servers.process import ServerConfig, StopSignals, shorten_pauses
from drum_supervisor.servers.wsgi.worker import MAX_CONNECTIONS, ConnectionLimits, ThreadedWorker, worker_settings


def serve(
    app: Application,
    config: ServerConfig,
    max_connections: int = MAX_CONNECTIONS,
    keep_alive_seconds: float = ConnectionLimits.keep_alive_seconds,
) -> None:
    """Serve `app` until a stop is requested, then answer everything accepted; see `ConnectionLimits`."""
    limits = ConnectionLimits(config.drain_seconds, config.head_seconds, keep_alive_seconds, max_connections)
    LoneWorker(app, config, limits).serve()


class LoneWorker(ThreadedWorker):
    """The worker without a master: it gets the application, the listener and the stop from `serve`."""

    def __init__(self, app: Application, config: ServerConfig, limits: ConnectionLimits) -> None:
        gunicorn_config = Config()
        for name, value in worker_settings(limits).items():
            gunicorn_config.set(name, value)
        super().__init__(0, os.getppid(), [config.listener], None, 0, gunicorn_config, logging.getLogger(__name__))
        self.wsgi = app
        self.limits = limits
        self._config = config

    def serve(self) -> None:
        self.tpool = self.get_thread_pool()
        self.poller = selectors.DefaultSelector()
        self.method_queue.init()
        self.poller.register(self._config.stop, selectors.EVENT_READ, self._read_stop)
        shorten_pauses()
        self._config.on_ready()
        with closing(self.tmp):
            self.run()

    def is_parent_alive(self) -> bool:
        """Serve on without the parent: only a stop ends this process."""
        return True

    def _read_stop(self, stop: StopSignals) -> None:
        if stop.read_wakeup():
            self.alive = False
