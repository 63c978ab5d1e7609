"""One of our programs as a process of supervisord: its pipes, its descriptors, its start and its end."""

import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from supervisor.options import NotFound, ProcessConfig
from supervisor.states import RUNNING_STATES, ProcessStates

from drum_supervisor.contract.fds import PROGRAM_VARIABLE, REPORT_FD, REPORT_FD_VARIABLE
from drum_supervisor.contract.log_records import ERR, OUT, Source
from drum_supervisor.contract.report_pipe import MAX_LINE
from drum_supervisor.resources import proctree
from drum_supervisor.supervise.engine import prctl
from drum_supervisor.supervise.engine.child import Child, close_above, close_fd, park
from drum_supervisor.supervise.engine.run import Dispatcher, EngineCallbacks, ProgramControl, Run
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.memory_file import MemoryFile
from drum_supervisor.supervise.output.streams import Forwarder, OutputStreams
from drum_supervisor.supervise.output.tail import Tail
from drum_supervisor.supervise.programs.program import Program


@dataclass
class EngineContext:
    """What the parts of the engine share.

    Attributes:
        known: our programs, by name.
        outlets: where their output goes.
        desk: takes what operators ask over supervisord's own interface; None: nobody does.
        pid: of the supervisor.
        guard_pid: of its guard; 0 without one.
        stopping: whether everything is being stopped: nothing is to be started any more.
        log_files: what supervisord finds as their logs.
        main_log: what it finds as its own: our lines.
        peak_memory_bytes, cpu_seconds: of the process that was reaped last.
    """

    owner: EngineCallbacks
    log: Log
    outlets: OutputStreams
    known: Mapping[str, Program]
    pid: int
    desk: ProgramControl | None = None
    guard_pid: int = 0
    stopping: bool = False
    log_files: dict[Source, MemoryFile] = field(default_factory=dict)
    main_log: MemoryFile = field(default_factory=MemoryFile)
    peak_memory_bytes: int | None = None
    cpu_seconds: float = 0.0

    def log_file(self, source: Source) -> MemoryFile:
        """Return what supervisord finds as the log of a stream; made late, when it has cleaned up descriptors."""
        if source not in self.log_files:
            self.log_files[source] = MemoryFile()
        return self.log_files[source]


class ManagedConfig(ProcessConfig):  # type: ignore[misc]
    """The configuration of one of our programs."""

    def make_process(self, group: Any = None) -> "ManagedProcess":
        process = ManagedProcess(self)
        process.group = group
        return process

    def make_dispatchers(self, process: "ManagedProcess") -> tuple[dict[int, Dispatcher], dict[str, int | None]]:
        """Make the pipes of one run: output, which is forwarded, and the report pipe. stdin is empty."""
        pipes: dict[str, int | None] = {"child_stdin": os.open(os.devnull, os.O_RDONLY), "stdin": None}
        for name in ("stdout", "stderr", "report"):
            ours, theirs = os.pipe()
            os.set_blocking(ours, False)
            pipes[name], pipes[f"child_{name}"] = ours, theirs
        stdout, stderr, report = (pipes[name] or 0 for name in ("stdout", "stderr", "report"))
        dispatchers: dict[int, Dispatcher] = {
            stdout: self._forwarder(stdout, Source(self.name, OUT), process.run.output),
            stderr: self._forwarder(stderr, Source(self.name, ERR), process.run.tail),
            report: _ReportPipe(report, process),
        }
        return dispatchers, pipes

    def _forwarder(self, fd: int, source: Source, tail: Tail) -> Forwarder:
        around: EngineContext = self.options.around
        file = around.log_file(source)
        setattr(self, f"{source.stream}_logfile", file.path)
        return around.outlets.forwarder(fd, source, tail.add, file.add)


class _ReportPipe:
    """Reads lines from the report pipe; a line that is too long is passed on cut, and so found bad."""

    def __init__(self, fd: int, process: "ManagedProcess") -> None:
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


class ManagedProcess(Child):
    """One of our programs. Whoever starts, stops or asks for it over supervisord's own interface comes to the desk."""

    run: Run
    listener_fd: int | None = None

    def __init__(self, config: ManagedConfig) -> None:
        super().__init__(config)
        self.program: Program = config.options.around.known[config.name]

    def start(self, program: Program, listener_fd: int | None) -> Run:
        """Spawn `program`; what kept it from starting is in the run's `spawn_error`."""
        self.program = program
        self.run = Run(program, time.time(), time.monotonic())
        self.listener_fd = listener_fd
        self.spawn_now()
        self.run.pid = self.pid
        self.run.spawn_error = self.spawnerr or ""
        return self.run

    def ask_to_stop(self, timeout: float) -> None:
        """Send TERM to the process group, and KILL after `timeout` seconds."""
        self.run.stop_asked = True
        self.config.stopwaitsecs = timeout
        if self.state in RUNNING_STATES:
            super().stop()

    def kill_tree(self) -> None:
        """Kill the process, its group and all its descendants."""
        self.run.stop_asked = True
        left = list(proctree.descendants(self.pid))
        self.kill(signal.SIGKILL)
        self.run.is_untouchable = self.pid in proctree.signal_each([self.pid, *left], signal.SIGKILL)

    def spawn(self) -> None:
        """Ask the desk for a start: this is how supervisord's own interface begins one."""
        desk: ProgramControl | None = self.config.options.around.desk
        self.spawnerr = desk.start(self.program) if desk else "nobody decides on that"

    def stop(self) -> str | None:
        """Ask the desk for a stop; return why there is none."""
        desk: ProgramControl | None = self.config.options.around.desk
        return (desk.stop(self.program) if desk else "nobody decides on that") or None

    def get_state(self) -> int:
        """Return how the program stands for the desk: RUNNING is who is ready."""
        desk: ProgramControl | None = self.config.options.around.desk
        return int(getattr(ProcessStates, desk.standing(self.program).state.name)) if desk else int(self.state)

    def removelogs(self) -> None:
        """Empty what supervisord finds as the logs."""
        for file in self.config.options.around.log_files.values():
            if file.path in (self.config.stdout_logfile, self.config.stderr_logfile):
                file.clear()

    def get_execv_args(self) -> tuple[str, list[str]]:
        """Return the exact arguments: the INI text would lose newlines, and comments after a semicolon."""
        argv = list(self.program.argv)
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

    def tell(self, line: bytes) -> None:
        """Pass on a line of the report pipe."""
        self.config.options.around.owner.on_line(self.run, line)

    def drain(self) -> None:
        """Take all that the dead left in their pipes; supervisord reads once, and not at all under back-pressure."""
        for dispatcher in self.dispatchers.values():
            dispatcher.drain()

    def finish(self, pid: int, status: int) -> None:
        """Tell the engine when supervisord is through: only then may the program be started again.

        supervisord's own exit status is -1 for every signal; the wait status says which.
        """
        super().finish(pid, status)
        around: EngineContext = self.config.options.around
        self.run.status = status
        self.run.peak_memory_bytes, self.run.cpu_seconds = around.peak_memory_bytes, around.cpu_seconds
        around.owner.on_exit(self.run)

    def _prepare_child_fds(self) -> None:
        """Give the child 0, 1, 2, the listener as 3, the report pipe as 4, and nothing else.

        All are parked high first: a pipe of ours may have number 3 or 4 itself, and dup2(3, 3) would leave
        close-on-exec set.
        """
        wanted = [self.pipes[f"child_{name}"] for name in ("stdin", "stdout", "stderr")]
        parked = [park(fd) for fd in (*wanted, self.listener_fd, self.pipes["child_report"])]
        for number, fd in enumerate(parked):
            os.dup2(fd, number) if fd is not None else close_fd(number)
        close_above(REPORT_FD)
        self.restore()
        if self.program.worker:
            prctl.go_first()
        self._set_environment()

    def _set_environment(self) -> None:
        """Change os.environ, in the child: supervisord copies it after this."""
        os.environ[REPORT_FD_VARIABLE] = str(REPORT_FD)
        os.environ[PROGRAM_VARIABLE] = self.program.name
        if self.listener_fd is not None and self.run.program.announced:
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.environ.update(self.run.program.environment)
