"""Runs a WSGI application under gunicorn: a master in this process, and workers that each load the application."""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import gunicorn.http.message
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.sock import create_sockets
from gunicorn.workers.gthread import ThreadWorker

from drum_supervisor.contract.exits import ExitCode, of_signal, signal_name
from drum_supervisor.contract.report import InitFailed, Message, Stage, decode, encode
from drum_supervisor.fronts.wire import CROWDED_PATIENCE, HEAD_SECONDS, PIECE, wait_for_close
from drum_supervisor.serve.process import STOP_SIGNALS
from drum_supervisor.serve.progress import Progress

# Each takes one connection, from its first byte to its answer. How many predictions run at once is the application's.
THREADS = 256

# How long a stop waits for a request that has not arrived.
SILENT_GRACE = 1.0

# How long a client may take to close after its answer: it has one of the threads meanwhile.
CLOSING_SECONDS = 1.0

# gunicorn 27 keeps connections for so many seconds more when their request has not arrived after 5 seconds; after its
# answer each is closed. Before 22 only a zero does that.
KEEP_ALIVE = round(HEAD_SECONDS) if hasattr(gunicorn.http.message.Message, "force_close") else 0

# How long a worker has fewer connections after it ran out of descriptors.
FULL_SECONDS = 10.0

# Threads that clients who are slow with their heads cannot take.
_FOR_OTHERS = 16

_STOPPING = (*STOP_SIGNALS, signal.SIGQUIT)


@dataclass(frozen=True)
class Options:
    """How gunicorn runs.

    Attributes:
        drain_seconds: how long requests that have arrived may take after the stop.
        backlog: of the listener; gunicorn sets it anew.
        head_seconds: how long a client may take for the head of its request.
    """

    workers: int
    drain_seconds: float
    backlog: int
    head_seconds: float = HEAD_SECONDS


def serve(
    load: Callable[[Progress], Any], listener: socket.socket, send: Callable[[Message], None], options: Options
) -> int:
    """Run gunicorn on `listener` until a stop is asked for or the initialization fails; return the exit code.

    Returns in the workers as well, when they end.

    Args:
        load: returns the application; called in each worker.
        send: tells the supervisor, from the workers and from the master.
    """
    words = _Words()
    progress = Progress(lambda message: _send_both(message, send, words))
    application = _Application(load, progress, options, f"fd://{listener.detach()}")
    try:
        _Arbiter(application, words, Progress(send)).run()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else ExitCode.INTERNAL
    return ExitCode.STOPPED


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
    """The application as gunicorn's configuration sees it."""

    def __init__(self, load: Callable[[Progress], Any], progress: Progress, options: Options, bind: str) -> None:
        self.progress = progress
        self.options = options
        self._load = load
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": self._bind,
            "workers": self.options.workers,
            "worker_class": f"{_Worker.__module__}.{_Worker.__qualname__}",  # gunicorn 21 takes no class
            "threads": THREADS,
            "timeout": 0,  # a prediction takes as long as it takes; the worker's heart beats in another thread anyway
            "graceful_timeout": max(round(self.options.drain_seconds), 1),
            "backlog": self.options.backlog,
            "keepalive": KEEP_ALIVE,
            "limit_request_line": 8190,
            "loglevel": "warning",
            "control_socket_disable": True,  # newer gunicorns open one, at a path that all share
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        try:
            return self._load(self.progress)
        except BaseException as error:  # noqa: BLE001 - the border to the user's code
            self.progress.fail(error)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


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
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    def stop(self, graceful: bool = True) -> None:
        self._is_stopping = True
        super().stop(graceful)

    def reap_workers(self) -> None:
        deaths = [] if self._is_stopping else self._deaths_without_a_word()
        for stage, sentence in deaths[:1]:
            self._progress.fail_silently(stage, sentence)
        halt: HaltServer | None = None
        try:
            super().reap_workers()
        except HaltServer as raised:
            halt = raised
        if self._is_stopping:
            self._forget_the_gone()  # gunicorn ended its reaping early; it would wait for them, or raise while it halts
        elif deaths or halt:
            raise HaltServer(deaths[0][1] if deaths else str(halt), ExitCode.INIT_FAILED)

    def _deaths_without_a_word(self) -> list[tuple[str, str]]:
        """Return stage and sentence for each worker that died during its initialization and said nothing about it."""
        for pid, message in self._words.heard():
            if isinstance(message, Stage):
                self._stages[pid] = message.name
            else:
                self._spoken.add(pid)
        ends = [(pid, _how_ended(pid)) for pid in list(self.WORKERS) if pid not in self._spoken]
        return [
            (self._stages.get(pid, ""), f"gunicorn worker (pid {pid}) {how} before it was ready")
            for pid, how in ends
            if how
        ]

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
    return "" if ended.si_status in _STOPPING else f"was killed by {signal_name(ended.si_status)}"


class _Worker(ThreadWorker):
    """gunicorn's threaded worker, which answers all that it has accepted before it stops.

    While the application is loaded, stop signals have their default effect: there is nobody to answer yet, and the
    user's code may be busy where Python sees no signals. Afterwards the worker stays `alive` for gunicorn until it
    has drained, because what gunicorn does then differs from version to version.
    """

    app: _Application

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stop_began: float | None = None
        self._full_at = -FULL_SECONDS
        self._heads: dict[socket.socket, float] = {}  # connections whose head is being read, and since when
        self._silent: dict[socket.socket, float] = {}  # those of which nothing has arrived

    def init_signals(self) -> None:
        super().init_signals()
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)

    def load_wsgi(self) -> None:
        super().load_wsgi()
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGQUIT, self.handle_quit)

    def run(self) -> None:
        self.poller.register(self.PIPE[0], selectors.EVENT_READ, lambda fd: os.read(fd, PIECE))
        self.app.progress.become_ready()
        super().run()

    def notify(self) -> None:
        """Also look after connections: gunicorn calls this in each turn of its loop, at least once a second."""
        super().notify()
        now = time.monotonic()
        polled = [key.fileobj for key in self.poller.get_map().values()]
        self._silent = {each: self._silent.get(each, now) for each in polled if isinstance(each, socket.socket)}
        if self._stop_began is not None:
            self._drain(now - self._stop_began)
        elif now - self._full_at > FULL_SECONDS:
            self.worker_connections = self.cfg.worker_connections
        self._make_room()
        for connection, began in [*self._heads.copy().items(), *self._silent.items()]:
            if now - began > self.app.options.head_seconds:
                _end_reading(connection)

    def accept(self, *args: Any) -> None:
        try:
            super().accept(*args)
        except OSError as error:
            # Out of descriptors, for which gunicorn would end the worker. It needs up to two for a connection.
            self.log.warning("Cannot accept a connection: %s", error)
            self._full_at, self.worker_connections = time.monotonic(), max(self.nr_conns // 2, 1)
        self._make_room()

    def handle(self, conn: Any) -> Any:
        self._heads[conn.sock] = time.monotonic()
        try:
            result = super().handle(conn)
        finally:
            self._heads.pop(conn.sock, None)
        if result is False or (isinstance(result, tuple) and not result[0]):
            # gunicorn 27 waits for the client in the one thread that accepts, 2 seconds each; older ones close at once
            wait_for_close(conn.sock, CLOSING_SECONDS)
            _end_reading(conn.sock)
        return result

    def handle_request(self, req: Any, conn: Any) -> Any:
        self._heads.pop(conn.sock, None)
        if KEEP_ALIVE:
            req.force_close()
        return super().handle_request(req, conn)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # Once is enough: the master and whoever signals the process group may both ask, and more than once.
        if self._stop_began is None:
            self._stop_began = time.monotonic()
            self._wake()

    def _make_room(self) -> None:
        """Give up clients that keep us waiting for their heads, the longest first, when threads run out."""
        excess = max(self.nr_conns - (THREADS - _FOR_OTHERS), 0)
        slow = [each for each, began in self._heads.copy().items() if time.monotonic() - began > CROWDED_PATIENCE]
        for connection in slow[:excess]:
            self._heads.pop(connection, None)
            _end_reading(connection)

    def _drain(self, seconds: float) -> None:
        if hasattr(self, "set_accept_enabled"):
            self.worker_connections = 0  # its loop stops to accept
        else:  # gunicorn before 25
            for listener in self.sockets:
                with suppress(KeyError):
                    self.poller.unregister(listener)
        if seconds > SILENT_GRACE:
            for connection in [*self._heads.copy(), *self._silent]:
                _end_reading(connection)
        if self.nr_conns == 0 or seconds > self.cfg.graceful_timeout:
            self.alive = False
            self._wake()  # the loop is about to wait

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self.PIPE[1], b"\0")


def _end_reading(connection: socket.socket) -> None:
    """Make the thread that reads `connection` come to its end."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
