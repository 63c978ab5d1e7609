"""supervisord, run in-process as a library: spawning, reaping, signals, the poll loop and the control socket.

This module is all that the rest of the supervisor sees of it. Only `engine`, `engine_loop` and `engine_process` import
supervisor (and `control`, for its XML-RPC).
"""

import os
import signal
from collections.abc import Iterable, Mapping
from io import StringIO

from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import make_namespec
from supervisor.states import RUNNING_STATES, SupervisorStates, getProcessStateDescription

from drum_supervisor.supervise.engine.event_loop import EngineLoop, EngineOptions
from drum_supervisor.supervise.engine.extra_process import ExtraProcess
from drum_supervisor.supervise.engine.managed_process import EngineContext, ManagedProcess
from drum_supervisor.supervise.engine.run import Dispatcher, EngineCallbacks, ExtraProgram, ProgramControl, Run
from drum_supervisor.supervise.engine.wakeup import SIGNALS, Wakeup
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.streams import OutputStreams
from drum_supervisor.supervise.programs.program import Program


class Engine:
    """Runs programs. `run` blocks until `end` is called.

    Args:
        configuration: as rendered by `rendering.render`.
        known: the programs, by the names that the configuration has.
        owner: who decides.
        log: takes supervisord's lines.
        outlets: where the programs' output goes, and our lines.
        guard_pid: the child of ours that is neither a program nor an orphan.
        desk: takes what operators ask over supervisord's own interface.
    """

    def __init__(
        self,
        configuration: str,
        known: Mapping[str, Program],
        owner: EngineCallbacks,
        log: Log,
        outlets: OutputStreams,
        guard_pid: int = 0,
        desk: ProgramControl | None = None,
    ) -> None:
        self.pid = os.getpid()
        self.wakeup = Wakeup()
        self._shown = {name: name for name in known}
        self._watched: dict[int, Dispatcher] = {d.fd: d for d in (self.wakeup, outlets.out, outlets.err)}
        self._options = EngineOptions(EngineContext(owner, log, outlets, known, self.pid, desk, guard_pid))
        self._options.configfile = StringIO(configuration)
        self._options.realize(args=["--nodaemon"], progname="drum-supervise")
        self._options.logfile = self._options.around.main_log.path
        outlets.keepers.append(self._options.around.main_log.add)
        self._options.first = True
        self._options.test = False
        self._supervisord = EngineLoop(self._options, self.wakeup, self._watched)

    def publish(self, controlled: object) -> None:
        """Say what `control` publishes on the socket; call this before `run`."""
        self._supervisord.controlled = controlled

    # --- the loop

    def run(self, early: Iterable[int] = ()) -> None:
        """Run until `end` was called.

        Args:
            early: signals that came before.
        """
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
            around = self._options.around
            around.outlets.keepers.remove(around.main_log.add)
            for file in (*around.log_files.values(), around.main_log):
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
        self._options.around.stopping = True
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

    def state_of(self, name: str) -> str:
        """Return supervisord's state of a program: RUNNING means that it was started, no more."""
        return str(getProcessStateDescription(self._process(name).state))

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
