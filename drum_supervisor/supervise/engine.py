"""supervisord, run in-process as a library: spawning, reaping, signals, the poll loop and the control socket.

The only module that imports supervisor (`control` uses its client transport). What supervisord does by itself -
restarting, backing off, logging - is turned off or overridden; each override names the trap it avoids, and has a
test that fails when the trap is gone. Measured on supervisor 4.3.0.
"""

import fcntl
import os
import resource
import select
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, NoReturn, Protocol

from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import NotFound, ProcessConfig, ServerOptions
from supervisor.poller import PollPoller
from supervisor.process import Subprocess
from supervisor.states import RUNNING_STATES, ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from drum_supervisor.contract.exits import UsageError
from drum_supervisor.contract.report import MAX_LINE, REPORT_FD, REPORT_FD_VARIABLE
from drum_supervisor.supervise import tree
from drum_supervisor.supervise.log import Log
from drum_supervisor.supervise.output import Forwarder, Sink, Tail
from drum_supervisor.supervise.programs import Program
from drum_supervisor.supervise.wakeup import Wakeup

HIGH_FD = 64  # parked above all that a child is given
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)
_RESTORED = (*_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores the last two; what we exec must not


class Dispatcher(Protocol):
    """What the loop polls, by descriptor; supervisord's own dispatchers look the same."""

    fd: int
    closed: bool

    def readable(self) -> bool: ...

    def writable(self) -> bool: ...

    def handle_read_event(self) -> None: ...

    def handle_write_event(self) -> None: ...

    def handle_error(self) -> None: ...


class Owner(Protocol):
    """Who decides; every call comes from the loop's thread, and each may call the engine back."""

    def on_begin(self) -> None:
        """The engine runs: control socket open, signals handled."""

    def on_signal(self, number: int) -> None:
        """TERM, INT, QUIT, HUP or USR2 arrived."""

    def on_line(self, run: "Run", line: bytes) -> None:
        """A program wrote a line to its report pipe."""

    def on_exit(self, run: "Run") -> None:
        """A program was reaped; `run.status` is set. Descendants may be left."""

    def on_turn(self) -> None:
        """A turn of the loop is over: nothing is half done, programs may be started."""

    def next_wakeup(self) -> float:
        """Return in how many seconds the next turn is wanted."""


@dataclass
class Run:
    """One run of a program, from its start to its end."""

    program: Program
    pid: int
    started_at: float
    started: float
    tail: Tail = field(default_factory=Tail)
    stop_asked: bool = False
    status: int | None = None
    peak_memory_bytes: int | None = None
    spawn_error: str = ""


class Engine:
    """Runs programs. `run` blocks until `end` is called.

    Args:
        configuration: as rendered by `programs.render`.
        known: the programs, by the names that the configuration has.
        owner: who decides.
        log: takes supervisord's lines.
        out, err: where the programs' output goes.
    """

    def __init__(
        self, configuration: str, known: Mapping[str, Program], owner: Owner, log: Log, out: Sink, err: Sink
    ) -> None:
        self.pid = os.getpid()
        self.wakeup = Wakeup()
        self.owner = owner
        self.log = log
        self.out = out
        self.err = err
        self.extra: dict[int, Dispatcher] = {d.fd: d for d in (self.wakeup, out, err)}
        self._options = _Options(self, known)
        self._options.configfile = StringIO(configuration)
        self._options.realize(args=["--nodaemon"], progname="drum-supervise")
        self._options.first = True
        self._options.test = False
        self._supervisord = _Supervisord(self._options, self)
        self._runs: dict[str, Run] = {}
        self.controlled: Any = None  # what `control` publishes on the socket; set before `run`

    # --- the loop

    def run(self) -> None:
        """Run until `end` was called."""
        previous = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            self._supervisord.main()
        except ExitNow:
            pass
        finally:
            self.wakeup.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._options.close_httpservers()

    def end(self) -> None:
        """Leave the loop; everything must have been stopped before."""
        self._supervisord.ending = True
        self._options.mood = SupervisorStates.SHUTDOWN
        self.wakeup.wake()

    def watch(self, dispatcher: Dispatcher) -> None:
        """Poll `dispatcher` from now on."""
        self.extra[dispatcher.fd] = dispatcher

    def unwatch(self, dispatcher: Dispatcher) -> None:
        """Poll it no more; call this before its descriptor is closed."""
        self.extra.pop(dispatcher.fd, None)

    # --- programs

    def start(self, program: Program, listener_fd: int | None) -> Run:
        """Start `program`; what kept it from starting is in the run's `spawn_error`.

        Args:
            listener_fd: the socket that it gets as fd 3, or None.
        """
        process = self._process(program.name)
        process.prepare(program, listener_fd)
        with _signals_blocked():
            process.spawn()
        run = Run(program, process.pid, time.time(), time.monotonic(), process.tail, spawn_error=process.spawnerr or "")
        self._runs[program.name] = run
        self.wakeup.wake()  # STARTING becomes RUNNING on the next turn
        return run

    def stop(self, name: str, timeout: float) -> None:
        """Ask a program to stop: TERM to its process group, KILL after `timeout` seconds."""
        process = self._process(name)
        if process.pid:
            self._runs[name].stop_asked = True
            process.config.stopwaitsecs = timeout
            if process.get_state() in RUNNING_STATES:
                process.stop()

    def kill(self, name: str) -> None:
        """Kill a program, its process group and all its descendants at once."""
        process = self._process(name)
        if process.pid:
            self._runs[name].stop_asked = True
            left = list(tree.descendants(process.pid))
            process.kill(signal.SIGKILL)
            tree.signal_each([process.pid, *left], signal.SIGKILL)

    def stop_others(self) -> None:
        """Ask the programs of the user's configuration to stop."""
        for process in self._others():
            if process.get_state() in RUNNING_STATES:
                process.stop()

    def others_left(self) -> bool:
        """Return whether a program of the user's configuration still runs."""
        return any(process.pid for process in self._others())

    def run_of(self, name: str) -> Run | None:
        """Return the present run of a program, None when its process is gone."""
        run = self._runs.get(name)
        return run if run is not None and run.status is None and run.pid else None

    def orphans(self) -> dict[int, str]:
        """Return the processes that were left to us, with the name of the program that left them or ""."""
        return tree.orphans(self._options.pidhistory)

    def state_of(self, name: str) -> str:
        """Return supervisord's state of a program: RUNNING means that it was started, no more."""
        state = self._process(name).get_state()
        return next(text for text, value in vars(ProcessStates).items() if value == state)

    def _process(self, name: str) -> "_Process":
        process = self._supervisord.process_groups[name].processes[name]
        assert isinstance(process, _Process)
        return process

    def _others(self) -> list[Subprocess]:
        groups = self._supervisord.process_groups.values()
        return [p for group in groups for p in group.processes.values() if not isinstance(p, _Process)]

    def _finished(self, name: str, status: int) -> None:
        run = self._runs[name]
        run.status = status
        run.peak_memory_bytes = self._options.peak_memory_bytes
        self.owner.on_exit(run)


class _Supervisord(Supervisor):  # type: ignore[misc]
    """The main loop. supervisord's turn is: poll, read and write, state transitions, reap, signals, tick."""

    ending = False

    def __init__(self, options: "_Options", engine: Engine) -> None:
        super().__init__(options)
        self.engine = engine

    def runforever(self) -> None:
        self.engine.wakeup.on_signals()
        self.engine.wakeup.wake()  # the first poll would sleep a second before anything is spawned
        self.engine.owner.on_begin()
        super().runforever()

    def get_process_map(self) -> dict[int, Dispatcher]:
        """Add our own descriptors to those that the loop polls."""
        return {**super().get_process_map(), **self.engine.extra}

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        """Reap all that is dead: supervisord stops at 100, by recursion, and logs each stranger."""
        while True:
            pid, status = self.options.waitpid()
            if not pid:
                return
            process = self.options.pidhistory.pop(pid, None)
            if process is not None:
                process.finish(pid, status)

    def handle_signal(self) -> None:
        """Pass on all signals; supervisord would look at one in a turn, and sleep before it sees the next."""
        while number := self.options.get_signal():
            if number != signal.SIGCHLD:
                self.engine.owner.on_signal(number)

    def tick(self, now: float | None = None) -> None:
        """The end of a turn, where nothing is half done (fact: never spawn in an event callback)."""
        super().tick(now)
        if self.options.mood < SupervisorStates.RUNNING and not self.ending:
            self._asked_over_rpc()
        self.engine.owner.on_turn()

    def _asked_over_rpc(self) -> None:
        """`supervisorctl shutdown` and `reload` set the mood; the policy decides what becomes of it."""
        number = signal.SIGTERM if self.options.mood == SupervisorStates.SHUTDOWN else signal.SIGHUP
        self.options.mood = SupervisorStates.RUNNING
        self.engine.owner.on_signal(number)


class _Poller(PollPoller):  # type: ignore[misc]
    """Polls until the next alarm instead of for a second, and sees a pipe whose reader is gone."""

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        """Wait; `timeout` is supervisord's second, the most we ever wait.

        supervisord overlooks POLLERR: with nobody at the other end of a full pipe it would spin.
        """
        wanted = self.options.engine.owner.next_wakeup()
        readable, writable = [], []
        for fd, mask in self._poll_fds(max(0.0, min(timeout, wanted))):
            if self._ignore_invalid(fd, mask):
                continue
            if mask & (self.READ | select.POLLERR) and fd in self.readables:
                readable.append(fd)
            if mask & (self.WRITE | select.POLLERR | select.POLLHUP) and fd in self.writables:
                writable.append(fd)
        return readable, writable


class _Options(ServerOptions):  # type: ignore[misc]
    """supervisord's options and its calls into the operating system."""

    def __init__(self, engine: Engine, known: Mapping[str, Program]) -> None:
        self.engine = engine
        self.known = known
        self.peak_memory_bytes: int | None = None
        super().__init__()
        self.poller = _Poller(self)

    def usage(self, message: object) -> NoReturn:
        """Raise instead of exiting from within a library."""
        raise UsageError(f"supervisord: {message}")

    def make_logger(self) -> None:
        self.logger = self.engine.log

    def set_uid_or_exit(self) -> None:
        """We run as whoever started us; supervisord would warn about root."""

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, klass: type[ProcessConfig] | None = None
    ) -> Any:
        ours = section.partition(":")[2] in self.known
        return super().processes_from_section(parser, section, group_name, _Config if ours else klass)

    def waitpid(self) -> tuple[int | None, int | None]:
        """Reap one child and note its peak memory, which nothing else tells of the dead."""
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return None, None
        self.peak_memory_bytes = usage.ru_maxrss * 1024
        return pid, status

    def close_parent_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_parent_pipes(pipes)
        _close(pipes.get("report"))

    def close_child_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_child_pipes(pipes)
        _close(pipes.get("child_report"))


class _Config(ProcessConfig):  # type: ignore[misc]
    """The configuration of one of our programs."""

    options: _Options

    def make_process(self, group: Any = None) -> "_Process":
        process = _Process(self)
        process.group = group
        return process

    def make_dispatchers(self, process: "_Process") -> tuple[dict[int, Dispatcher], dict[str, int | None]]:
        """Make the pipes of one run: output, which is forwarded, and the report pipe. stdin is empty."""
        pipes: dict[str, int | None] = {"child_stdin": os.open(os.devnull, os.O_RDONLY), "stdin": None}
        for name in ("stdout", "stderr", "report"):
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            pipes[name], pipes[f"child_{name}"] = ours, theirs
        engine = self.options.engine
        process.tail = Tail()
        stdout, stderr, report = (pipes[name] or 0 for name in ("stdout", "stderr", "report"))
        dispatchers: dict[int, Dispatcher] = {
            stdout: Forwarder(stdout, engine.out),
            stderr: Forwarder(stderr, engine.err, process.tail),
            report: _ReportPipe(report, process),
        }
        return dispatchers, pipes


class _ReportPipe:
    """Reads lines from the report pipe; a line that is too long is passed on cut, and so found bad."""

    def __init__(self, fd: int, process: "_Process") -> None:
        self.fd = fd
        self.closed = False
        self._process = process
        self._unfinished = b""

    def readable(self) -> bool:
        return not self.closed

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self._read()

    def handle_write_event(self) -> None:
        """Nothing is written to a report pipe."""

    def handle_error(self) -> None:
        self.closed = True

    def drain(self) -> None:
        while not self.closed and self._read():
            pass

    def _read(self) -> bool:
        try:
            data = os.read(self.fd, MAX_LINE)
        except BlockingIOError:
            return False
        self.closed = not data
        *lines, rest = (self._unfinished + data).split(b"\n")
        self._unfinished = rest[: MAX_LINE + 1]
        for line in filter(None, lines):
            self._process.tell(line)
        return bool(data)


class _Process(Subprocess):  # type: ignore[misc]
    """One of our programs."""

    config: _Config
    program: Program
    tail: Tail
    listener_fd: int | None = None

    def prepare(self, program: Program, listener_fd: int | None) -> None:
        """Say what the next spawn runs."""
        self.program = program
        self.listener_fd = listener_fd
        self.tail = Tail()

    def get_execv_args(self) -> tuple[str, list[str]]:
        """Return the exact arguments: the INI text would lose newlines, and comments after a semicolon."""
        argv = list(self.program.argv)
        filename = argv[0]
        if "/" not in filename:
            filename = shutil.which(filename) or ""
            if not filename:
                raise NotFound(f"can't find command {argv[0]!r} in PATH")
        st = None
        with suppress(OSError):
            st = os.stat(filename)
        self.config.options.check_execv_args(filename, argv, st)
        return filename, argv

    def tell(self, line: bytes) -> None:
        """Pass on a line of the report pipe."""
        engine = self.config.options.engine
        engine.owner.on_line(engine._runs[self.config.name], line)

    def drain(self) -> None:
        """Take all that the dead left in their pipes; supervisord reads once, and not at all under back-pressure."""
        for dispatcher in self.dispatchers.values():
            dispatcher.drain()

    def finish(self, pid: int, status: int) -> None:
        """Tell the engine when supervisord is through: only then may the program be started again.

        supervisord's own exit status is -1 for every signal; the wait status says which.
        """
        super().finish(pid, status)
        self.config.options.engine._finished(self.config.name, status)

    def _spawn_as_parent(self, pid: int) -> int:
        """Make the child's process group from this side too: a stop that comes before the child does it is lost."""
        with suppress(ProcessLookupError, PermissionError):  # it was quicker, and has gone on to its exec
            os.setpgid(pid, pid)
        return int(super()._spawn_as_parent(pid))

    def _prepare_child_fds(self) -> None:
        """Give the child 0, 1, 2, the listener as 3, the report pipe as 4, and nothing else.

        All are parked high first: a pipe of ours may have number 3 or 4 itself, and dup2(3, 3) would leave
        close-on-exec set.
        """
        wanted = [self.pipes[f"child_{name}"] for name in ("stdin", "stdout", "stderr")]
        parked = [_park(fd) for fd in (*wanted, self.listener_fd, self.pipes["child_report"])]
        for number, fd in enumerate(parked):
            os.dup2(fd, number) if fd is not None else _close(number)
        _close_above(REPORT_FD)
        self._set_environment()
        tree.die_with_parent(self.config.options.engine.pid)
        _restore_signals()

    def _set_environment(self) -> None:
        """Change os.environ, in the child: supervisord copies it after this."""
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET"):
            os.environ.pop(name, None)
        os.environ[REPORT_FD_VARIABLE] = str(REPORT_FD)
        if self.listener_fd is not None and self.program.announced:
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.environ.update(self.program.environment)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Hold signals back over a fork: a TERM that meets the child before its exec would be lost in our handler."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore_signals() -> None:
    for number in _RESTORED:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _park(fd: int | None) -> int | None:
    return None if fd is None else fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH_FD)


def _close(fd: int | None) -> None:
    if fd is not None:
        with suppress(OSError):
            os.close(fd)


def _close_above(last: int) -> None:
    """Close every descriptor above `last`: those that are open, not the million that might be."""
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        numbers = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for number in numbers:
        if number > last:
            _close(number)
