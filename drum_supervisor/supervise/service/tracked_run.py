"""A run of a program with what was observed of it."""

from dataclasses import dataclass

from drum_supervisor.resources.oom import MemoryWatch
from drum_supervisor.supervise.engine.run import Run


@dataclass
class TrackedRun:
    run: Run
    attempt: int  # the number of the attempt to initialize the model server
    stage: str = ""  # of initialization, as last reported
    ready: bool = False
    outcome_reported: bool = False  # the policy knows that its start failed or that it ended, or a stop was requested
    stale: bool = False  # it was replaced or stopped: events about it are void
    memory: MemoryWatch | None = None  # the OOM kills in its control group; None if it could not be started

    @property
    def is_starting(self) -> bool:
        return self.is_running and not self.ready

    @property
    def is_running(self) -> bool:
        """Whether it runs, has not failed, and is not being stopped."""
        return self.run.status is None and self.run.pid > 0 and not (self.outcome_reported or self.run.stop_requested)
