"""Runs a WSGI application under gunicorn: a master in this process, and workers that each load the application."""

import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.sock import create_sockets

from drum_supervisor.config.gunicorn import GunicornParameters
from drum_supervisor.contract.exits import ExitCode, of_signal, signal_name
from drum_supervisor.contract.report_pipe import InitFailed, Message, Stage, decode, encode
from drum_supervisor.http.encoding import HEAD_SECONDS, PIECE
from drum_supervisor.request_state import RequestIdFilter
from drum_supervisor.servers.gunicorn import hooks
from drum_supervisor.servers.gunicorn.worker import STOPPING, Worker
from drum_supervisor.servers.init_report import Progress
from drum_supervisor.servers.logs import FORMAT
from drum_supervisor.servers.process import STOP_SIGNALS
from drum_supervisor.worker_context import WorkerCtx

Load = Callable[[Progress, WorkerCtx], Any]
"""Returns the WSGI application; called in each worker, at whose end what it registers with the context is closed."""


@dataclass(frozen=True)
class Options:
    """How gunicorn runs.

    Attributes:
        drain_seconds: how long requests that have arrived may take after the stop.
        backlog: of the listener; gunicorn sets it anew.
        head_seconds: how long a client may take for the head of its request.
        finish_seconds: how long stop and cleanup of a worker's context may take after that.
        parameters: the runtime parameters. Their workers and backlog do not count. `keep_alive` is how long a
            connection waits for its next request, KEEP_ALIVE_SECONDS by default. `timeout` is how long a worker may
            show no sign of life; it does not end predictions, and does not count while a model is loaded.
            `graceful_timeout` can only make `drain_seconds` shorter.
    """

    workers: int
    drain_seconds: float
    backlog: int
    head_seconds: float = HEAD_SECONDS
    finish_seconds: float = 8.0
    parameters: GunicornParameters = field(default_factory=GunicornParameters)


def serve(load: Load, listener: socket.socket, send: Callable[[Message], None], options: Options) -> int:
    """Run gunicorn on `listener` until a stop is asked for or the initialization fails; return the exit code.

    Returns in the workers as well, when they end.

    Args:
        send: tells the supervisor, from the workers and from the master.

    Raises:
        UsageError: the worker class cannot be used.
    """
    hooks.check_worker_class(options.parameters)
    words = _Words()
    progress = Progress(lambda message: _send_both(message, send, words))
    application = _Application(load, progress, options, f"fd://{listener.detach()}")
    try:
        _Arbiter(application, words, Progress(send)).run()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ExitCode.INTERNAL
    return ExitCode.STOPPED


_WORKERS = {  # by name: gunicorn 21 takes no class, and gevent is imported only when it is chosen
    "sync": f"{Worker.__module__}.{Worker.__qualname__}",
    "gevent": "drum_supervisor.servers.gunicorn.gevent_worker.Worker",
}


class _Words:
    """What workers tell their master, through a pipe that is there before the first of them."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._unread = b""
        os.set_blocking(self._reader, False)

    def tell(self, message: Message) -> None:
        if isinstance(message, InitFailed):
            message = InitFailed(message.stage, "", "")  # short lines are not torn apart by others
        os.write(self._writer, b"%d %s" % (os.getpid(), encode(message)))

    def heard(self) -> Iterator[tuple[int, Message]]:
        """Yield what was told since the last time, with the pid of the worker."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, PIECE):
                self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            pid, _, message = line.partition(b" ")
            yield int(pid), decode(message)


def _send_both(message: Message, send: Callable[[Message], None], words: _Words) -> None:
    send(message)
    words.tell(message)


class _Application(BaseApplication):
    """The application as gunicorn's configuration sees it.

    Attributes:
        worker_ctx: in a worker, its context.
        drain_seconds: how long requests may take after a stop.
    """

    def __init__(self, load: Load, progress: Progress, options: Options, bind: str) -> None:
        self.progress = progress
        self.options = options
        self.worker_ctx: WorkerCtx | None = None
        self.drain_seconds = min(options.drain_seconds, options.parameters.graceful_timeout or math.inf)
        self._load = load
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        ours: dict[str, Any] = {
            "bind": self._bind,
            "workers": self.options.workers,
            "worker_class": _WORKERS[self.options.parameters.worker_class],
            "timeout": self._timeout(),
            "graceful_timeout": math.ceil(self.drain_seconds + self.options.finish_seconds),
            "max_requests": 0,  # gunicorn's way to stop loses connections
            "backlog": self.options.backlog,
            "logger_class": f"{Logger.__module__}.{Logger.__qualname__}",
        }
        given = {"loglevel": "warning", **hooks.settings(self.options.parameters)}
        for name, value in {**given, **ours}.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        self.worker_ctx = WorkerCtx(None)
        try:
            self.worker_ctx.app = self._load(self.progress, self.worker_ctx)
        except BaseException as error:  # noqa: BLE001 - the border to the user's code
            for number in STOP_SIGNALS:  # the answer to the report: it must not interrupt what comes now
                signal.signal(number, signal.SIG_IGN)
            self.progress.fail(error)
            self.worker_ctx.stop()
            self.worker_ctx.cleanup()
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        return self.worker_ctx.app

    def _timeout(self) -> int:
        """A worker that cleans up shows no sign of life."""
        timeout = self.options.parameters.timeout
        return timeout and timeout + math.ceil(self.options.finish_seconds)


class _Arbiter(Arbiter):
    """gunicorn's master, which gives up when a worker dies before it was ready: gunicorn would start it for ever."""

    def __init__(self, app: _Application, words: _Words, progress: Progress) -> None:
        super().__init__(app)
        self._words = words
        self._progress = progress
        self._stages: dict[int, str] = {}
        self._spoken: set[int] = set()  # workers that have said that they are ready, or that they failed
        self._stop_signals = 0
        self._is_stopping = False
        self.systemd = True  # the socket is not ours: gunicorn would unlink a unix socket's file
        self.LISTENERS = create_sockets(self.cfg, self.log)  # type: ignore[misc, arg-type]

    def signal(self, sig: int, frame: FrameType | None) -> None:
        if sig in STOP_SIGNALS:
            self._stop_signals += 1
            if self._stop_signals > 1:
                self._end_at_once(sig)
        super().signal(sig, frame)

    def handle_int(self) -> None:
        """Stop as gracefully as on TERM; gunicorn would not."""
        self.handle_term()

    def handle_usr2(self) -> None:
        """Do nothing: gunicorn would start a second master, outside of the supervisor."""

    def spawn_worker(self) -> Any:
        # A stop signal that came before the worker has handlers of its own would be queued in it and forgotten.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def stop(self, graceful: bool = True) -> None:
        self._is_stopping = True
        super().stop(graceful)

    def murder_workers(self) -> None:
        """Leave workers alone that load the model: how long that may take is the supervisor's to say.

        gunicorn 21 does not; newer ones begin to count with the first sign of life.
        """
        self._hear()
        for pid, worker in self.WORKERS.items():
            if pid not in self._spoken:
                worker.tmp.notify()
        super().murder_workers()

    def reap_workers(self) -> None:
        deaths = [] if self._is_stopping else self._deaths_without_a_word()
        for stage, sentence in deaths[:1]:
            self._progress.fail_silently(stage, sentence)
        halt: HaltServer | None = None
        try:
            super().reap_workers()
        except HaltServer as raised:
            halt = raised
        self._spoken &= self.WORKERS.keys()  # the system gives pids away again
        if self._is_stopping:
            self._forget_the_gone()  # gunicorn ended its reaping early; it would wait for them, or raise while it halts
        elif deaths or halt:
            raise HaltServer(deaths[0][1] if deaths else str(halt), ExitCode.INIT_FAILED)

    def _deaths_without_a_word(self) -> list[tuple[str, str]]:
        """Return stage and sentence for each worker that died during its initialization and said nothing about it."""
        self._hear()
        ends = [(pid, _how_ended(pid)) for pid in list(self.WORKERS) if pid not in self._spoken]
        return [
            (self._stages.get(pid, ""), f"gunicorn worker (pid {pid}) {how} before it was ready")
            for pid, how in ends
            if how
        ]

    def _hear(self) -> None:
        for pid, message in self._words.heard():
            if isinstance(message, Stage):
                self._stages[pid] = message.name
            else:
                self._spoken.add(pid)

    def _forget_the_gone(self) -> None:
        for pid in [pid for pid in self.WORKERS if _is_gone(pid)]:
            self.WORKERS.pop(pid).tmp.close()

    def _end_at_once(self, number: int) -> None:
        for pid in list(self.WORKERS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(of_signal(number))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _how_ended(pid: int) -> str:
    """Say how the child `pid` ended, without reaping it; empty while it runs, and when somebody asked it to stop."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return ""
    if ended is None:
        return ""
    if ended.si_code == os.CLD_EXITED:
        return f"exited with status {ended.si_status}"
    return "" if ended.si_status in STOPPING else f"was killed by {signal_name(ended.si_status)}"


class Logger(GunicornLogger):
    """gunicorn's logger, whose lines look like those of the other hosts."""

    error_fmt = FORMAT
    datefmt = None  # type: ignore[assignment]  # then milliseconds are shown

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.addFilter(RequestIdFilter())
