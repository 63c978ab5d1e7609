"""supervisord, run in-process as a library: spawning, reaping, signals, the poll loop and the control socket.

The rest of the supervisor sees this module alone.
"""

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
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.streams import OutputStreams
from drum_supervisor.supervise.programs.program import Program


class Engine:
    """Runs programs. `run` blocks until `end` is called.

    Args:
        configuration: for supervisord, as `render` returns it.
        programs: ours, by the names that the configuration has.
        guard_pid: a child of ours that is neither a program nor an orphan; 0: there is none.
    """

    def __init__(
        self,
        configuration: str,
        programs: Mapping[str, Program],
        log: Log,
        streams: OutputStreams,
        guard_pid: int = 0,
    ) -> None:
        self.pid = os.getpid()
        self.wakeup = Wakeup()
        self._shown = {name: name for name in programs}
        self._watched: dict[int, Dispatcher] = {d.fd: d for d in (self.wakeup, streams.out, streams.err)}
        self._context = EngineContext(log, streams, programs, self.pid, guard_pid)
        self._options = EngineOptions(self._context)
        self._options.configfile = StringIO(configuration)
        self._options.realize(args=["--nodaemon"], progname="drum-supervise")
        self._options.logfile = self._context.main_log.path
        streams.subscribers.append(self._context.keep_own_line)
        self._options.first = True
        self._options.test = False
        self._supervisord = EngineLoop(self._options, self.wakeup, self._watched)

    def publish(self, controlled: object) -> None:
        """Say what `control` publishes on the socket; call this before `run`."""
        self._supervisord.controlled = controlled

    # --- the loop

    def run(
        self, callbacks: EngineCallbacks, program_control: ProgramControl | None = None, early: Iterable[int] = ()
    ) -> None:
        """Run until `end` is called.

        Args:
            early: signals that arrived before.
        """
        self._context.callbacks, self._context.program_control = callbacks, program_control
        self._supervisord.early = early
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
        """Leave the loop; everything must have been stopped before."""
        self._supervisord.ending = True
        self._options.mood = SupervisorStates.SHUTDOWN
        self.wakeup.wake()

    def watch(self, dispatcher: Dispatcher) -> None:
        """Poll `dispatcher` from now on."""
        self._watched[dispatcher.fd] = dispatcher

    def unwatch(self, dispatcher: Dispatcher) -> None:
        """Poll it no more; call this before its descriptor is closed."""
        self._watched.pop(dispatcher.fd, None)

    # --- programs

    def start(self, program: Program, listener_fd: int | None) -> Run:
        """Start `program`; what kept it from starting is in the run's `spawn_error`.

        Args:
            listener_fd: the socket that it gets as fd 3, or None.
        """
        run = self._process(program.name).start(program, listener_fd)
        self.wakeup.wake()  # STARTING becomes RUNNING on the next turn
        return run

    def stop(self, name: str, timeout: float) -> None:
        """Ask a program to stop: TERM to its process group, KILL after `timeout` seconds."""
        process = self._process(name)
        if process.pid:
            process.ask_to_stop(timeout)

    def kill(self, name: str) -> None:
        """Kill a program, its process group and all its descendants at once."""
        process = self._process(name)
        if process.pid:
            process.kill_tree()

    def begin_stopping(self) -> list[int]:
        """Start no further program any more; return the priorities of all programs, the highest first."""
        self._context.stopping = True
        return sorted({group.config.priority for group in self._supervisord.process_groups.values()}, reverse=True)

    def priority_of(self, name: str) -> int:
        """Return the priority of a program of ours: those that have a higher one start later, and stop before it."""
        return int(self._process(name).group.config.priority)

    def stop_others(self, priority: int, timeout: float) -> None:
        """Ask the further programs of this priority to stop; KILL after `timeout` seconds, or sooner if they say so."""
        for process in self._others(priority):
            process.config.stopwaitsecs = min(process.config.stopwaitsecs, timeout)
            if process.get_state() in RUNNING_STATES:
                process.stop()

    def kill_others(self) -> None:
        """Kill the programs of the user's configuration at once."""
        for process in self._others():
            if process.pid:
                process.kill(signal.SIGKILL)

    def others_left(self, priority: int | None = None) -> bool:
        """Return whether a program of the user's configuration still runs, of this priority or any."""
        return any(process.pid for process in self._others(priority))

    def run_of(self, name: str) -> Run | None:
        """Return the present run of a program, None when its process is gone."""
        process = self._process(name)
        return process.run if process.pid else None

    def orphans(self) -> dict[int, str]:
        """Return the processes that were left to us, with the name of the program that left them or ""."""
        return self._options.orphans.look(self._options.pidhistory)

    def others(self) -> list[ExtraProgram]:
        """Return the programs of the user's configuration."""
        return [
            ExtraProgram(
                name=make_namespec(process.group.config.name, process.config.name),
                group=process.group.config.name,
                pid=process.pid,
                state=str(getProcessStateDescription(process.get_state())).lower(),
                started_at=float(process.laststart),
            )
            for process in self._others()
        ]

    def rename(self, shown: Mapping[str, str]) -> None:
        """Let supervisorctl find programs of ours under other names; here they keep their own.

        Args:
            shown: the new name of each program that gets one; together they are the ones that these had before.
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

    def _others(self, priority: int | None = None) -> list[ExtraProcess]:
        return [
            process
            for group in self._supervisord.process_groups.values()
            for process in group.processes.values()
            if isinstance(process, ExtraProcess) and priority in (None, group.config.priority)
        ]


class EngineOptions(ServerOptions):  # type: ignore[misc]
    """supervisord's options and its calls into the operating system."""

    def __init__(self, context: EngineContext) -> None:
        self.context = context
        self.orphans = Orphans(context.guard_pid)
        self.seconds_left: Callable[[], float] = lambda: inf
        super().__init__()
        self.poller = Poller(self)

    def usage(self, message: object) -> NoReturn:
        """Raise instead of exiting from within a library."""
        about = f" (file: {self.configfile!r})"  # a text in memory, of which nobody knows
        raise UsageError(f"--config: supervisord: {str(message).replace(about, '')}")

    def make_logger(self) -> None:
        self.logger = self.context.log
        for message in self.parse_warnings:
            self.context.log.line("warning", f"--config: supervisord: {message}")

    def set_uid_or_exit(self) -> None:
        """We run as whoever started us; supervisord would warn about root."""

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, klass: type[ProcessConfig] | None = None
    ) -> Any:
        """Return the configuration of our programs, and of further ones, in our own classes."""
        name = section.partition(":")[2]
        if name in self.context.programs:
            return super().processes_from_section(parser, section, group_name, ManagedConfig)
        further = ExtraListenerConfig if klass is EventListenerConfig else ExtraConfig
        configs = super().processes_from_section(parser, section, group_name, further)
        for config in configs:
            config.section = name
            if config.name in self.context.programs:
                raise ValueError(f"a process of [{section}] is called {config.name}, which is a name of ours")
        return configs

    def kill(self, pid: int, number: int) -> None:
        """Signal a process or a group; where that is not permitted, say so, and wait for its end all the same.

        supervisord gives up such a process (UNKNOWN), and itself when that process ends.
        """
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
