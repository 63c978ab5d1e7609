"""The state that the parts of the engine share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from drum_supervisor.contract.log_records import SUPERVISOR, LogSource
from drum_supervisor.supervise.engine.run import EngineCallbacks, ProgramControl
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.memory_file import MemoryFile
from drum_supervisor.supervise.output.streams import OutputStreams
from drum_supervisor.supervise.programs.program import Program


@dataclass
class EngineContext:
    log: Log
    streams: OutputStreams
    programs: Mapping[str, Program]  # the managed ones, by name
    guard_pid: int = 0  # a child that is neither a program nor an orphan; 0: no guard
    pid: int = field(default_factory=os.getpid)  # of the supervisor
    callbacks: EngineCallbacks = field(init=False)  # set by `Engine.run`, as the next one
    program_control: ProgramControl = field(init=False)
    stopping: bool = False  # the supervisor is shutting down, and nothing may be started
    log_files: dict[LogSource, MemoryFile] = field(
        default_factory=dict
    )  # what supervisord serves as the programs' logs
    main_log: MemoryFile = field(default_factory=MemoryFile)  # what it serves as its own log: the supervisor's lines

    def log_file(self, source: LogSource) -> MemoryFile:
        """Return the log file of a stream; created late, because supervisord closes all descriptors at its start."""
        if source not in self.log_files:
            self.log_files[source] = MemoryFile()
        return self.log_files[source]

    def keep_own_line(self, source: LogSource, data: bytes) -> None:
        """Add a line of the supervisor to the main log; subscribed to the output streams."""
        if source.program == SUPERVISOR:
            self.main_log.add(data)
