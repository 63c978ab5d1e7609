"""The extra programs of the user's configuration: managed by supervisord, their output forwarded like all output."""

from collections.abc import Mapping
from resource import struct_rusage
from typing import Any

from supervisor import events, loggers
from supervisor.datatypes import RestartUnconditionally
from supervisor.dispatchers import PEventListenerDispatcher, PInputDispatcher, POutputDispatcher, stripEscapes
from supervisor.options import EventListenerConfig, ProcessConfig, make_namespec
from supervisor.states import ProcessStates

from drum_supervisor.contract.log_records import STDERR, STDOUT, LogSource
from drum_supervisor.supervise.engine.child import Child, close_fds_above
from drum_supervisor.supervise.engine.context import EngineContext
from drum_supervisor.supervise.engine.run import Dispatcher, ExtraProgramExit

_INHERITED_STREAMS = {"/dev/stdout": STDOUT, "/dev/stderr": STDERR}
_EVENTS = {STDOUT: events.ProcessCommunicationStdoutEvent, STDERR: events.ProcessCommunicationStderrEvent}


class ExtraConfig(ProcessConfig):
    section = ""  # its name; `numprocs` makes several processes of one section

    def __init__(self, options: Any, **values: Any) -> None:
        super().__init__(options, **values)
        # The stream of ours that each of its streams goes to, if any; such a log file must never be opened.
        self.forwarded: Mapping[str, str] = {
            stream: _INHERITED_STREAMS[file]
            for stream in (STDOUT, STDERR)
            if (file := getattr(self, f"{stream}_logfile")) in _INHERITED_STREAMS
        }

    def make_process(self, group: Any = None) -> "ExtraProcess":
        process = ExtraProcess(self)
        process.group = group
        return process

    def make_dispatchers(self, process: "ExtraProcess") -> tuple[dict[int, Dispatcher], dict[str, int | None]]:
        pipes = self.options.make_pipes(not self.redirect_stderr)
        dispatchers = {
            fd: self.make_output(process, fd, stream)
            for stream in (STDOUT, STDERR)
            if (fd := pipes[stream]) is not None
        }
        return {**dispatchers, pipes["stdin"]: PInputDispatcher(process, "stdin", pipes["stdin"])}, pipes

    def make_output(self, process: "ExtraProcess", fd: int, stream: str) -> Any:
        return (_ForwardedOutput if stream in self.forwarded else POutputDispatcher)(process, _EVENTS[stream], fd)


class ExtraListenerConfig(ExtraConfig, EventListenerConfig):
    # The stdout of an event listener speaks supervisord's protocol.
    def make_output(self, process: "ExtraProcess", fd: int, stream: str) -> Any:
        if stream == STDOUT:
            return PEventListenerDispatcher(process, stream, fd)
        return super().make_output(process, fd, stream)


class _ForwardedOutput(POutputDispatcher):
    """Forwards output without a log file of its own to our streams, with their back-pressure.

    supervisord's events and captured text (`stdout_events_enabled`, `stdout_capture_maxbytes`) work as ever.
    """

    output_buffer: bytes

    def _init_normallog(self) -> None:
        config, context = self.process.config, self.process.config.options.context
        source = LogSource(self.process.shown_name, config.forwarded[self.channel])
        file = context.log_file(LogSource(self.process.shown_name, self.channel))
        setattr(config, f"{self.channel}_logfile", file.path)
        self._forwarder = context.streams.make_forwarder(self.fd, source, file.add)
        if getattr(config, f"{self.channel}_syslog"):
            self.normallog = config.options.getLogger()
            loggers.handle_syslog(self.normallog, fmt=f"{config.name} %(message)s")

    def readable(self) -> bool:
        return not self.closed and self._forwarder.readable()

    def drain(self) -> None:
        # What a dead process left in the pipe, however full our streams are; one read empties a pipe.
        if not self.closed:
            self.handle_read_event()
        rest, self.output_buffer = self.output_buffer, b""  # where supervisord still looks for the start of an event
        self._log(rest)
        self._forwarder.flush_line()

    def _log(self, data: bytes) -> None:
        super()._log(data)
        if data and not self.capturemode:
            self._forwarder.forward(stripEscapes(data) if self.process.config.options.strip_ansi else data)


class ExtraProcess(Child):
    status: int | None = None

    @property
    def shown_name(self) -> str:
        return str(make_namespec(self.group.config.name, self.config.name))

    def spawn(self) -> None:
        # Not while the supervisor is stopping: supervisord would restart it by itself.
        if not self._context.stopping:
            self.status = None
            self.spawn_now()

    def drain(self) -> None:
        for dispatcher in list(self.dispatchers.values()):
            if isinstance(dispatcher, _ForwardedOutput):
                dispatcher.drain()
        super().drain()

    def finish(self, pid: int, status: int, usage: struct_rusage) -> None:
        self.status, stop_requested = status, self.killing
        logs = [log for each in self.dispatchers.values() if (log := getattr(each, "normallog", None))]
        super().finish(pid, status)
        for log in logs:
            log.close()
        self._context.program_control.on_extra_exited(self._make_exit(pid, stop_requested))
        if self.state == ProcessStates.EXITED and not self._will_restart():
            self._context.program_control.on_extra_gave_up(self._make_exit(pid))

    def give_up(self) -> None:
        super().give_up()
        self._context.program_control.on_extra_gave_up(self._make_exit())

    def change_state(self, new_state: int, expected: bool = True) -> Any:
        changed = super().change_state(new_state, expected)
        self._context.program_control.on_extra_changed()
        return changed

    def seconds_left(self, now: float) -> float:
        if self.state == ProcessStates.EXITED and self._will_restart() and not self._context.stopping:
            return 0.0
        return super().seconds_left(now)

    def _will_restart(self) -> bool:
        autorestart = self.config.autorestart
        return bool(autorestart) and (
            autorestart is RestartUnconditionally or self.exitstatus not in self.config.exitcodes
        )

    def _make_exit(self, pid: int = 0, stop_requested: bool = False) -> ExtraProgramExit:
        error = str(self.spawnerr or "")
        return ExtraProgramExit(self.shown_name, self.config.section, pid, self.status, error, stop_requested)

    def _spawn_as_parent(self, pid: int) -> int:
        self._context.program_control.on_extra_started(self.shown_name, pid)
        return super()._spawn_as_parent(pid)

    @property
    def _context(self) -> EngineContext:
        context: EngineContext = self.config.options.context
        return context

    def _prepare_child_fds(self) -> None:
        super()._prepare_child_fds()
        close_fds_above(2)
        self.restore(is_expendable=True)
