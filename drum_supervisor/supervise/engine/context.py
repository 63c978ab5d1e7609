"""What the parts of the engine share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from drum_supervisor.contract.log_records import SUPERVISOR, Source
from drum_supervisor.supervise.engine.run import EngineCallbacks, ProgramControl
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.output.memory_file import MemoryFile
from drum_supervisor.supervise.output.streams import OutputStreams
from drum_supervisor.supervise.programs.program import Program


@dataclass
class EngineContext:
    """What the parts of the engine share.

    Attributes:
        programs: our programs, by name.
        pid, guard_pid: of the supervisor and of its guard, 0 without one.
        callbacks: what the engine reports to while it runs; set by `Engine.run`.
        program_control: decides on starts and stops that arrive over supervisord's own interface; set by `Engine.run`.
        stopping: the supervisor is shutting down: start nothing.
        log_files: what supervisord takes for the logs of the programs.
        main_log: what it takes for its own log: the supervisor's lines.
    """

    log: Log
    streams: OutputStreams
    programs: Mapping[str, Program]
    pid: int
    guard_pid: int = 0
    callbacks: EngineCallbacks = field(init=False)
    program_control: ProgramControl | None = None
    stopping: bool = False
    log_files: dict[Source, MemoryFile] = field(default_factory=dict)
    main_log: MemoryFile = field(default_factory=MemoryFile)

    def log_file(self, source: Source) -> MemoryFile:
        """Return what supervisord takes for the log of a stream; created late, after it has closed descriptors."""
        if source not in self.log_files:
            self.log_files[source] = MemoryFile()
        return self.log_files[source]

    def keep_own_line(self, source: Source, data: bytes) -> None:
        """Add a line of the supervisor's own to the main log: a subscriber of the output streams."""
        if source.program == SUPERVISOR:
            self.main_log.add(data)
