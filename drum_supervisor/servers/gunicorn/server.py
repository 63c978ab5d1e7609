"""Runs a WSGI application under gunicorn: the master is this process, and each worker loads the application."""

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
from drum_supervisor.contract.exits import ExitCode, signal_exit_code, signal_name
from drum_supervisor.contract.report_pipe import InitFailedMessage, Message, StageMessage, decode, encode
from drum_supervisor.servers.gunicorn import hooks
from drum_supervisor.servers.gunicorn.worker import STOPPING, DrainingWorker
from drum_supervisor.servers.init_report import InitReport
from drum_supervisor.servers.logs import FORMAT, add_request_id
from drum_supervisor.servers.wsgi.worker import ConnectionLimits, worker_settings
from drum_supervisor.worker_context import WorkerCtx

Load = Callable[[InitReport, WorkerCtx], Any]
"""Returns the WSGI application. Called in each worker, with the worker's context."""


@dataclass(frozen=True)
class Options:
    """How gunicorn runs."""

    drain_seconds: float  # how long requests already received may take after the stop
    head_seconds: float = ConnectionLimits.head_seconds  # how long a client may take to send the head of a request
    finish_seconds: float = 8.0  # how long stop and cleanup of a worker's context may take after draining
    # The runtime parameters. `backlog`: of the listener, as gunicorn calls listen() again. `keep_alive`: how long a
    # connection waits for its next request; unset: as in `ConnectionLimits`. `timeout`: how long a worker may miss its
    # heartbeat; it does not end predictions, and does not apply while the model loads. `graceful_timeout` can only
    # shorten `drain_seconds`.
    parameters: GunicornParameters = field(default_factory=GunicornParameters)


def serve(load: Load, listener: socket.socket, send: Callable[[Message], None], options: Options) -> int:
    """Run gunicorn on `listener` until a stop is requested or the initialization fails; return the exit code.

    It also returns in each exiting worker. Workers and master report to the supervisor through `send`. Raises
    UsageError if the worker class cannot be used.
    """
    hooks.check_worker_class(options.parameters)
    pipe = _WorkerPipe()
    init_report = InitReport(lambda message: _send_both(message, send, pipe))
    application = _GunicornApplication(load, init_report, options, f"fd://{listener.detach()}")
    try:
        _Arbiter(application, pipe, InitReport(send)).run()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ExitCode.INTERNAL
    return ExitCode.STOPPED


_WORKERS = {  # by name: gevent is imported only when chosen
    "sync": f"{DrainingWorker.__module__}.{DrainingWorker.__qualname__}",
    "gevent": "drum_supervisor.servers.gunicorn.gevent_worker.DrainingGeventWorker",
}


class _WorkerPipe:
    """The reports of the workers to their master; created before the first fork."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._unread = b""
        os.set_blocking(self._reader, False)

    def send(self, message: Message) -> None:
        if isinstance(message, InitFailedMessage):
            message = InitFailedMessage(message.stage, "", "")  # short: writes up to PIPE_BUF are atomic
        os.write(self._writer, b"%d %s" % (os.getpid(), encode(message)))

    def receive(self) -> Iterator[tuple[int, Message]]:
        """Yield the pid and message of each new report."""
        with suppress(BlockingIOError):
            while data := os.read(self._reader, 65536):
                self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            pid, _, message = line.partition(b" ")
            yield int(pid), decode(message)


def _send_both(message: Message, send: Callable[[Message], None], pipe: _WorkerPipe) -> None:
    send(message)
    pipe.send(message)


class _GunicornApplication(BaseApplication):
    """gunicorn's application object, which the workers inherit from the master."""

    def __init__(self, load: Load, init_report: InitReport, options: Options, bind: str) -> None:
        self.init_report = init_report
        self.options = options
        self.worker_ctx: WorkerCtx | None = None  # set in each worker
        keep_alive = options.parameters.keep_alive
        self.limits = ConnectionLimits(
            min(options.drain_seconds, options.parameters.graceful_timeout or math.inf),
            options.head_seconds,
            ConnectionLimits.keep_alive_seconds if keep_alive is None else keep_alive,
        )
        self._load = load
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        ours: dict[str, Any] = {
            "bind": self._bind,
            "worker_class": _WORKERS[self.options.parameters.worker_class],
            "timeout": self._timeout(),
            "graceful_timeout": math.ceil(self.limits.drain_seconds + self.options.finish_seconds),
            "logger_class": f"{Logger.__module__}.{Logger.__qualname__}",
        }
        given = {"loglevel": "warning", **hooks.settings(self.options.parameters)}
        for name, value in {**given, **worker_settings(self.limits), **ours}.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        self.worker_ctx = WorkerCtx(None)
        try:
            self.worker_ctx.app = self._load(self.init_report, self.worker_ctx)
        except BaseException as error:  # noqa: BLE001 - the border to the user's code
            for number in STOPPING:  # the supervisor's stop after the report must not interrupt the cleanup
                signal.signal(number, signal.SIG_IGN)
            self.init_report.fail(error)
            self.worker_ctx.stop()
            self.worker_ctx.cleanup()
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        return self.worker_ctx.app

    def _timeout(self) -> int:
        # a worker sends no heartbeat during its cleanup
        timeout = self.options.parameters.timeout
        return timeout and timeout + math.ceil(self.options.finish_seconds)


class _Arbiter(Arbiter):
    """gunicorn's master; exits when a worker dies before it is ready, where gunicorn would restart it forever."""

    def __init__(self, app: _GunicornApplication, pipe: _WorkerPipe, init_report: InitReport) -> None:
        super().__init__(app)
        self._pipe = pipe
        self._init_report = init_report
        self._stages: dict[int, str] = {}
        self._reported: set[int] = set()  # pids of workers which are ready or have failed
        self._stop_signals = 0
        self._is_stopping = False
        self.systemd = True  # gunicorn must not unlink the file of a unix socket which the supervisor owns
        self.LISTENERS = create_sockets(self.cfg, self.log)

    def signal(self, sig: int, frame: FrameType | None) -> None:
        if sig in STOPPING:
            self._stop_signals += 1
            if self._stop_signals > 1:
                self._kill_all(sig)
        super().signal(sig, frame)

    def handle_int(self) -> None:
        """Stop gracefully, as on TERM; gunicorn would not."""
        self.handle_term()

    def handle_usr2(self) -> None:
        """Do nothing: gunicorn would start a second master, unknown to the supervisor."""

    def spawn_worker(self) -> Any:
        # A stop signal received before the worker installs its handlers would be queued in the worker and lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def stop(self, graceful: bool = True) -> None:
        self._is_stopping = True
        super().stop(graceful)

    def reap_workers(self) -> None:
        deaths = [] if self._is_stopping else self._unreported_deaths()
        for stage, sentence in deaths[:1]:
            self._init_report.fail_for_worker(stage, sentence)
        halt: HaltServer | None = None
        try:
            super().reap_workers()
        except HaltServer as raised:
            halt = raised
        self._reported &= self.WORKERS.keys()  # the kernel reuses pids
        if self._is_stopping:
            # gunicorn ends its reaping early while it stops: it would wait for them, or raise while it halts
            self._remove_exited()
        elif deaths or halt:
            raise HaltServer(deaths[0][1] if deaths else str(halt), ExitCode.INIT_FAILED)

    def _unreported_deaths(self) -> list[tuple[str, str]]:
        """Return stage and sentence for each worker which died during initialization without a report."""
        self._read_reports()
        ends = [(pid, _describe_exit(pid)) for pid in list(self.WORKERS) if pid not in self._reported]
        return [
            (self._stages.get(pid, ""), f"gunicorn worker (pid {pid}) {how} before it was ready")
            for pid, how in ends
            if how
        ]

    def _read_reports(self) -> None:
        for pid, message in self._pipe.receive():
            if isinstance(message, StageMessage):
                self._stages[pid] = message.name
            else:
                self._reported.add(pid)

    def _remove_exited(self) -> None:
        for pid in [pid for pid in self.WORKERS if _has_exited(pid)]:
            self.WORKERS.pop(pid).tmp.close()

    def _kill_all(self, number: int) -> None:
        for pid in list(self.WORKERS):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os._exit(signal_exit_code(number))


def _has_exited(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _describe_exit(pid: int) -> str:
    """Describe how the child `pid` exited, without reaping it; empty while it runs, and after a stop signal."""
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
    """gunicorn's logger, with the line format of the other servers."""

    error_fmt = FORMAT
    datefmt = None  # None: the default format, with milliseconds

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            add_request_id(handler)
