"""supervisord, run in-process as a library: spawning, reaping, signals, the poll loop and the control socket."""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from io import StringIO
from math import inf
from typing import Any, NoReturn

from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import EventListenerConfig, ProcessConfig, ServerOptions, make_namespec
from supervisor.states import RUNNING_STATES, SupervisorStates, getProcessStateDescription

from drum_supervisor.contract.exits import UsageError, signal_name
from drum_supervisor.supervise.engine.child import close_fd
from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.event_loop import EngineLoop, Orphans, Poller
from drum_supervisor.supervise.engine.extra_process import ExtraConfig, ExtraListenerConfig, ExtraProcess
from drum_supervisor.supervise.engine.managed_process import ManagedConfig, ManagedProcess
from drum_supervisor.supervise.engine.run import Dispatcher, EngineCallbacks, ExtraProgram, ProgramControl, Run
from drum_supervisor.supervise.engine.wakeup import SIGNALS, Wakeup


class Engine:
    """Runs programs. `run` blocks until `end` is called.

    Args:
        configuration: for supervisord, as returned by `render`.
    """

    def __init__(self, configuration: str, context: EngineContext) -> None:
        self.pid = context.pid
        self.wakeup = Wakeup()
        streams = context.streams
        self._shown = {name: name for name in context.programs}
        self._watched: dict[int, Dispatcher] = {d.fd: d for d in (self.wakeup, streams.out, streams.err)}
        self._context = context
        self._options = EngineOptions(self._context)
        self._options.configfile = StringIO(configuration)
        self._options.realize(args=["--nodaemon"], progname="drum-supervise")
        self._options.logfile = self._context.main_log.path
        streams.subscribers.append(self._context.keep_own_line)
        self._options.first = True
        self._options.test = False
        self._supervisord = EngineLoop(self._options, self.wakeup, self._watched)

    def publish(self, namespace: object) -> None:
        """Set the XML-RPC namespace `drum`; call this before `run`."""
        self._supervisord.drum_namespace = namespace

    # --- the loop

    def run(
        self,
        callbacks: EngineCallbacks,
        program_control: ProgramControl,
        early_signals: Iterable[int] = (),
    ) -> None:
        """Run until `end` is called; `early_signals` have arrived before."""
        self._context.callbacks, self._context.program_control = callbacks, program_control
        self._supervisord.early_signals = early_signals
        previous = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            self._supervisord.main()
        except ExitNow:
            pass
        finally:
            self.wakeup.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._options.close_httpservers()
            self._context.streams.subscribers.remove(self._context.keep_own_line)
            for file in (*self._context.log_files.values(), self._context.main_log):
                file.close()

    def end(self) -> None:
        """Leave the loop; all programs must have stopped before."""
        self._supervisord.ending = True
        self._options.mood = SupervisorStates.SHUTDOWN
        self.wakeup.wake()

    def watch(self, dispatcher: Dispatcher) -> None:
        self._watched[dispatcher.fd] = dispatcher

    def unwatch(self, dispatcher: Dispatcher) -> None:
        """Stop polling `dispatcher`; call this before its descriptor is closed."""
        self._watched.pop(dispatcher.fd, None)

    # --- programs

    def start(self, run: Run, listener_fd: int | None) -> None:
        """Start a program, with `listener_fd` as its descriptor 3; the run's `spawn_error` says if that failed."""
        self._process(run.program.name).start(run, listener_fd)
        self.wakeup.wake()  # STARTING becomes RUNNING on the next turn

    def stop(self, name: str, timeout: float) -> None:
        """Stop a program: TERM to its process group, KILL after `timeout` seconds."""
        process = self._process(name)
        if process.pid:
            process.send_term(timeout)

    def kill(self, name: str) -> None:
        process = self._process(name)
        if process.pid:
            process.kill_tree()

    def begin_stopping(self) -> list[int]:
        """Start no extra program from now on; return the priorities of all programs, the highest first."""
        self._context.stopping = True
        return sorted({group.config.priority for group in self._supervisord.process_groups.values()}, reverse=True)

    def priority_of(self, name: str) -> int:
        """Return the priority of a managed program; those with a higher one start later, and stop earlier."""
        return int(self._process(name).group.config.priority)

    def stop_extra(self, priority: int, timeout: float) -> None:
        """Stop the extra programs of this priority; KILL after `timeout` seconds, or sooner if so configured."""
        for process in self._extra_processes(priority):
            process.config.stopwaitsecs = min(process.config.stopwaitsecs, timeout)
            if process.get_state() in RUNNING_STATES:
                process.stop()

    def kill_extra(self) -> None:
        for process in self._extra_processes():
            if process.pid:
                process.kill(signal.SIGKILL)

    def has_extra_running(self, priority: int | None = None) -> bool:
        """Return whether an extra program of this priority, or of any, still runs."""
        return any(process.pid for process in self._extra_processes(priority))

    def orphans(self) -> dict[int, str]:
        """Return the orphans by pid, with the name of the program that left each, or ""."""
        return self._options.orphans.find(self._options.pidhistory)

    def extra_programs(self) -> list[ExtraProgram]:
        return [
            ExtraProgram(
                name=make_namespec(process.group.config.name, process.config.name),
                group=process.group.config.name,
                pid=process.pid,
                state=str(getProcessStateDescription(process.get_state())).lower(),
                started_at=float(process.laststart),
            )
            for process in self._extra_processes()
        ]

    def rename(self, shown: Mapping[str, str]) -> None:
        """Change the names that supervisorctl shows for managed programs; the engine itself keeps theirs.

        Args:
            shown: new names, by program; they must be a permutation of the old ones.
        """
        groups = self._supervisord.process_groups
        taken = {name: groups.pop(self._shown[name]) for name in shown}
        for name, group in taken.items():
            (process,) = group.processes.values()
            group.config.name = process.config.name = self._shown[name] = shown[name]
            group.processes = {shown[name]: process}
            groups[shown[name]] = group

    def _process(self, name: str) -> ManagedProcess:
        shown = self._shown[name]
        process = self._supervisord.process_groups[shown].processes[shown]
        assert isinstance(process, ManagedProcess)
        return process

    def _extra_processes(self, priority: int | None = None) -> list[ExtraProcess]:
        return [
            process
            for group in self._supervisord.process_groups.values()
            for process in group.processes.values()
            if isinstance(process, ExtraProcess) and priority in (None, group.config.priority)
        ]


class EngineOptions(ServerOptions):
    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self.orphans = Orphans(context.guard_pid)
        self.seconds_left: Callable[[], float] = lambda: inf
        super().__init__()
        self.poller = Poller(self)

    def usage(self, message: object) -> NoReturn:
        # supervisord would exit from within a library.
        about = f" (file: {self.configfile!r})"  # a text in memory, which the user does not know
        raise UsageError(f"--config: supervisord: {str(message).replace(about, '')}")

    def make_logger(self) -> None:
        self.logger = self.context.log
        for message in self.parse_warnings:
            self.context.log.line("warning", f"--config: supervisord: {message}")

    def set_uid_or_exit(self) -> None: ...  # the user stays; supervisord would warn about root

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, klass: type[ProcessConfig] | None = None
    ) -> Any:
        name = section.partition(":")[2]
        if name in self.context.programs:
            return super().processes_from_section(parser, section, group_name, ManagedConfig)
        extra = ExtraListenerConfig if klass is EventListenerConfig else ExtraConfig
        configs = super().processes_from_section(parser, section, group_name, extra)
        for config in configs:
            config.section = name
            if config.name in self.context.programs:
                raise ValueError(f"[{section}] has a process named {config.name}, which is a reserved name")
        return configs

    def kill(self, pid: int, number: int) -> None:
        # A missing permission is logged, and the exit still awaited: supervisord gives up on such a process (state
        # UNKNOWN), and fails itself when that process exits.
        try:
            os.kill(pid, number)
        except PermissionError:
            what = f"{signal_name(number)} to pid {abs(pid)}"
            self.context.log.line("warning", f"{what} is not permitted: it runs as another user", pid=abs(pid))

    def close_parent_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_parent_pipes(pipes)
        close_fd(pipes.get("report"))

    def close_child_pipes(self, pipes: dict[str, int | None]) -> None:
        super().close_child_pipes(pipes)
        close_fd(pipes.get("child_report"))
