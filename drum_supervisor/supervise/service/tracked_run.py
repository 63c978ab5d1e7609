"""What one run of a program was seen to do."""

from dataclasses import dataclass

from drum_supervisor.resources.oom import MemoryWatch
from drum_supervisor.supervise.engine.run import Run


@dataclass
class TrackedRun:
    """What a run was seen to do.

    Attributes:
        attempt: which attempt to initialize it belongs to.
        stage: of initialization, the last one that it reported.
        outcome_reported: the policy knows how its start came out, or that it ended, or the stop was requested.
        stale: it was replaced or stopped; events about it are void.
        memory: the OOM kills in its control group; None for a program that could not be started.
    """

    run: Run
    attempt: int
    stage: str = ""
    ready: bool = False
    outcome_reported: bool = False
    stale: bool = False
    memory: MemoryWatch | None = None

    @property
    def is_starting(self) -> bool:
        """Whether it may still become ready."""
        return self.is_running and not self.ready

    @property
    def is_running(self) -> bool:
        """Whether it runs, and should."""
        return self.run.status is None and self.run.pid > 0 and not (self.outcome_reported or self.run.stop_requested)
