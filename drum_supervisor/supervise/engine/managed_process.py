"""The managed programs as processes of supervisord: pipes, descriptors, start and exit."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from resource import struct_rusage
from typing import Any

from supervisor.options import NotFound, ProcessConfig, ProcessException
from supervisor.states import RUNNING_STATES, ProcessStates

from drum_supervisor.contract.fds import PROGRAM_VARIABLE, REPORT_FD, REPORT_FD_VARIABLE
from drum_supervisor.contract.log_records import STDERR, STDOUT, LogSource
from drum_supervisor.contract.report_pipe import MAX_LINE
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine.child import Child, close_fd, close_fds_above, park
from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.run import Dispatcher, Run
from drum_supervisor.supervise.output.reader import Reader
from drum_supervisor.supervise.output.streams import Forwarder


class ManagedConfig(ProcessConfig):
    def make_process(self, group: Any = None) -> "ManagedProcess":
        process = ManagedProcess(self)
        process.group = group
        return process

    def make_dispatchers(self, process: "ManagedProcess") -> tuple[dict[int, Dispatcher], dict[str, int | None]]:
        pipes: dict[str, int | None] = {"child_stdin": os.open(os.devnull, os.O_RDONLY), "stdin": None}
        for name in ("stdout", "stderr", "report"):
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            pipes[name], pipes[f"child_{name}"] = ours, theirs
        stdout, stderr, report = (pipes[name] or 0 for name in ("stdout", "stderr", "report"))
        dispatchers: dict[int, Dispatcher] = {
            stdout: self._forwarder(stdout, LogSource(self.name, STDOUT), process.run.stdout_tail.add),
            stderr: self._forwarder(stderr, LogSource(self.name, STDERR), process.run.stderr_tail.add),
            report: _ReportPipe(report, process),
        }
        return dispatchers, pipes

    def _forwarder(self, fd: int, source: LogSource, keep: Callable[[bytes], object]) -> Forwarder:
        context: EngineContext = self.options.context
        file = context.log_file(source)
        setattr(self, f"{source.stream}_logfile", file.path)
        return context.streams.make_forwarder(fd, source, keep, file.add)


class _ReportPipe(Reader):
    """Reads lines from the report pipe; a line that is too long is passed on truncated, and so is invalid."""

    def __init__(self, fd: int, process: "ManagedProcess") -> None:
        super().__init__(fd)
        self._process = process
        self._unfinished = b""

    def handle_read_event(self) -> None:
        self._read()

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
            self._process.on_report_line(line)
        return bool(data)


class ManagedProcess(Child):
    """A managed program. Starts and stops over supervisord's own interface become requests to program control."""

    listener_fd: int | None = None

    def __init__(self, config: ManagedConfig) -> None:
        super().__init__(config)
        self.run = Run(config.options.context.programs[config.name])  # of a program that was not started yet

    def start(self, run: Run, listener_fd: int | None) -> None:
        """Spawn the program of `run`, whose `spawn_error` says if that failed."""
        self.run = run
        self.listener_fd = listener_fd
        self.spawn_now()
        run.pid = self.pid
        run.spawn_error = self.spawnerr or ""

    def send_term(self, timeout: float) -> None:
        """Send TERM to the process group, and KILL after `timeout` seconds."""
        self.run.stop_requested = True
        self.config.stopwaitsecs = timeout
        if self.state in RUNNING_STATES:
            super().stop()

    def kill_tree(self) -> None:
        self.run.stop_requested = True
        descendants = list(proctree.descendants(self.pid))
        self.kill(signal.SIGKILL)
        self.run.kill_denied = self.pid in proctree.signal_each([self.pid, *descendants], signal.SIGKILL)

    def spawn(self) -> None:
        """Request a start from program control; called by supervisord's own interface."""
        self.spawnerr = self._context.program_control.start(self.run.program)

    def stop(self) -> str | None:
        """Request a stop from program control; return why it was refused, or None."""
        return self._context.program_control.stop(self.run.program) or None

    def get_state(self) -> int:
        """Return the state that operators see: RUNNING means ready."""
        return int(getattr(ProcessStates, self._context.program_control.control_state(self.run.program).state.name))

    def removelogs(self) -> None:
        for file in self._context.log_files.values():
            if file.path in (self.config.stdout_logfile, self.config.stderr_logfile):
                file.clear()

    def get_execv_args(self) -> tuple[str, list[str]]:
        try:
            return self._find_command()
        except ProcessException:
            self.run.is_command_unusable = True
            raise

    def _find_command(self) -> tuple[str, list[str]]:
        # The exact arguments: INI text would lose newlines, and anything after a semicolon.
        argv = list(self.run.program.argv)
        filename = argv[0]
        if "/" not in filename:
            filename = shutil.which(filename, path=os.pathsep.join(self.config.get_path())) or ""
            if not filename:
                raise NotFound(f"can't find command {argv[0]!r} in PATH")
        st = None
        with suppress(OSError):
            st = os.stat(filename)
        self.config.options.check_execv_args(filename, argv, st)
        return filename, argv

    def on_report_line(self, line: bytes) -> None:
        self._context.callbacks.on_line(self.run, line)

    def drain(self) -> None:
        # All that a dead process left in its pipes: supervisord reads once, and under back-pressure not at all.
        for dispatcher in self.dispatchers.values():
            dispatcher.drain()

    def finish(self, pid: int, status: int, usage: struct_rusage) -> None:
        # Reported after supervisord has handled the exit: only then may the program be started again. supervisord's own
        # exit status is -1 for every signal; the wait status says which.
        super().finish(pid, status)
        self.run.status = status
        self.run.peak_memory_bytes = usage.ru_maxrss * 1024
        self.run.cpu_seconds = usage.ru_utime + usage.ru_stime
        self._context.callbacks.on_exit(self.run)

    @property
    def _context(self) -> EngineContext:
        context: EngineContext = self.config.options.context
        return context

    def _prepare_child_fds(self) -> None:
        # The child gets 0, 1, 2, the listener as 3, the report pipe as 4, and nothing else. All are duplicated to high
        # numbers first: a pipe of ours may have number 3 or 4 itself, and dup2(3, 3) would leave close-on-exec set.
        wanted = [self.pipes[f"child_{name}"] for name in ("stdin", "stdout", "stderr")]
        parked = [park(fd) for fd in (*wanted, self.listener_fd, self.pipes["child_report"])]
        for number, fd in enumerate(parked):
            os.dup2(fd, number) if fd is not None else close_fd(number)
        close_fds_above(REPORT_FD)
        self.restore(is_expendable=self.run.program.worker > 0)
        self._set_environment()

    def _set_environment(self) -> None:
        # In the child: supervisord copies os.environ after this.
        os.environ[REPORT_FD_VARIABLE] = str(REPORT_FD)
        os.environ[PROGRAM_VARIABLE] = self.run.program.name
        if self.listener_fd is not None and self.run.program.announced:
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.environ.update(self.run.program.environment)
