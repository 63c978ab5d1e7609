"""What all parts of one supervisor share."""

import time
from dataclasses import dataclass, field

from drum_supervisor.resources.headroom import headroom
from drum_supervisor.resources.oom import KillCounters
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.counters import Counters
from drum_supervisor.supervise.policy.events import RestartCause, RestartRequested
from drum_supervisor.supervise.policy.state import Limits, State
from drum_supervisor.supervise.programs.program import ERROR_SERVER, Programs
from drum_supervisor.supervise.service.event_queue import EventQueue
from drum_supervisor.supervise.service.tracked_run import TrackedRun
from drum_supervisor.supervise.service.waiters import Waiters

NO_STANDBYS = (
    "--overlap needs workers that inherit the listener and report when they are ready (--ready report): else nobody "
    "can tell the new one from the old one"
)


@dataclass
class Service:
    """The state of the supervised service.

    Attributes:
        limits: the settings that the policy knows.
        counters: what has happened so far.
        stage: of initialization, the last one that a worker reported since the last start of one.
        since, entered_at: when the phase began, in seconds since the epoch and of the monotonic clock.
        seen: the last run of each program, by name.
    """

    limits: Limits
    state: State = field(default_factory=State)
    counters: Counters = field(default_factory=Counters)
    stage: str = ""
    since: float = field(default_factory=time.time)
    entered_at: float = field(default_factory=time.monotonic)
    runs: dict[str, TrackedRun] = field(default_factory=dict)

    @property
    def is_error_server_ready(self) -> bool:
        error_server = self.runs.get(ERROR_SERVER)
        return error_server is not None and error_server.is_running and error_server.ready


@dataclass(frozen=True)
class Context:
    """What all parts of one supervisor share: the programs and their state, the clock, the event queue, the log.

    Attributes:
        waiters: the clients that wait on the control socket for a change.
        kill_counters: the OOM kills in the control groups of all programs.
    """

    programs: Programs
    service: Service
    timers: Timers
    queue: EventQueue[TrackedRun]
    waiters: Waiters
    kill_counters: KillCounters
    log: Log

    def now(self) -> float:
        """Return seconds of the monotonic clock."""
        return self.timers.clock()

    def worker_runs(self) -> list[TrackedRun]:
        """Return the last run of each worker that was ever started."""
        return [tracked for program in self.programs.all_workers if (tracked := self.service.runs.get(program.name))]

    def ready_pids(self) -> dict[int, int]:
        """Return the pid of each ready worker, by slot."""
        ready = self.service.state.ready
        return {
            tracked.run.program.slot: tracked.run.pid
            for tracked in self.worker_runs()
            if tracked.run.program.worker in ready and tracked.run.status is None and not tracked.run.stop_requested
        }

    def overlap_refusal(self, force: bool = False) -> str:
        """Return why no second copy of a worker can be started beside the first; empty: it can.

        Args:
            force: also where two copies may not fit into the memory limit.
        """
        if not self.programs.standbys:
            return NO_STANDBYS
        pids = [tracked.run.pid for tracked in self.worker_runs() if tracked.run.status is None and tracked.run.pid]
        found = None if force else headroom(pids)
        return "" if found is None or found.is_enough else f"{found.sentence}; --force starts a second one all the same"

    def recycle(self, slot: int, cause: RestartCause) -> None:
        """Have a worker replaced that could go on; with overlap, where there is memory for a second copy."""
        self.queue.put(RestartRequested(self.now(), slot, overlap=not self.overlap_refusal(), cause=cause))
