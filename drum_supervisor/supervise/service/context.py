"""The current runs, the state of the service, and the context of all parts of one supervisor."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drum_supervisor.contract.phase import Phase
from drum_supervisor.resources.headroom import headroom
from drum_supervisor.resources.oom import OomKillCounters
from drum_supervisor.supervise.engine.run import Run
from drum_supervisor.supervise.engine.timers import Timers
from drum_supervisor.supervise.output.log import Log
from drum_supervisor.supervise.policy.actions import Alarm
from drum_supervisor.supervise.policy.counters import Counters
from drum_supervisor.supervise.policy.events import RestartCause, RestartRequested, StopRequested
from drum_supervisor.supervise.policy.state import Limits, State, attempts_left, current_workers, is_retry_refused
from drum_supervisor.supervise.programs.program import ERROR_SERVER, Program, Programs, display_name
from drum_supervisor.supervise.service.event_queue import EventQueue
from drum_supervisor.supervise.service.waiters import Waiters

NO_STANDBYS = (
    "--overlap needs workers that inherit the listener and report when they are ready (--ready report): otherwise the "
    "new worker cannot be distinguished from the old one"
)


@dataclass
class ServiceStatus:
    """The state of the supervised service."""

    limits: Limits  # the settings that the policy uses
    state: State = field(default_factory=State)
    counters: Counters = field(default_factory=Counters)
    stage: str = ""  # of initialization, as last reported by a worker since the last start of one
    since: float = field(default_factory=time.time)  # when the phase was entered, in seconds since the epoch
    entered_at: float = field(default_factory=time.monotonic)  # the same, on the monotonic clock
    runs: dict[str, Run] = field(default_factory=dict)  # the last run of each program, by name

    @property
    def is_serving(self) -> bool:
        return self.state.phase is Phase.SERVING

    @property
    def is_stopping(self) -> bool:
        return self.state.phase is Phase.STOPPING

    @property
    def is_initializing(self) -> bool:
        """Whether an attempt to initialize is under way, and not stopped by an operator."""
        phase = self.state.phase
        return phase is Phase.RETRYING or (phase is Phase.STARTING and not self.is_stopped_by_operator)

    @property
    def is_stopped_by_operator(self) -> bool:
        """Whether no worker is ready or starting because operators stopped them."""
        state = self.state
        return state.phase is Phase.STARTING and bool(state.stopped_by_operator) and not state.starting

    @property
    def attempts_left(self) -> int:
        return attempts_left(self.state, self.limits)

    @property
    def is_retry_refused(self) -> bool:
        """Whether there is no retry because the failure would only happen again."""
        return is_retry_refused(self.state, self.limits)

    @property
    def current_workers(self) -> frozenset[int]:
        """The worker of each slot: the standby where that serves."""
        return current_workers(self.state, self.limits)

    def current_run(self, name: str) -> Run | None:
        """Return the run of a program; None once its process was reaped."""
        run = self.runs.get(name)
        return run if run is not None and run.is_alive else None

    @property
    def is_error_server_ready(self) -> bool:
        error_server = self.runs.get(ERROR_SERVER)
        return error_server is not None and error_server.is_running and error_server.ready


@dataclass(frozen=True)
class Context:
    """The state that all parts of one supervisor share."""

    programs: Programs
    service: ServiceStatus
    timers: Timers
    queue: EventQueue
    waiters: Waiters
    kill_counters: OomKillCounters  # of the control groups of all programs
    log: Log

    @classmethod
    def create(
        cls,
        programs: Programs,
        limits: Limits,
        wake: Callable[[], object],
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> "Context":
        """Return the context of a supervisor that has just started; `wake` ends the poll of its loop."""
        timers = Timers(clock)
        return cls(
            programs=programs,
            service=ServiceStatus(limits),
            timers=timers,
            queue=EventQueue(wake),
            waiters=Waiters(timers, wake),
            kill_counters=OomKillCounters(timers.clock),
            log=log,
        )

    def now(self) -> float:
        """Return the seconds of the monotonic clock."""
        return self.timers.clock()

    def next_retry_at(self) -> float | None:
        """Return the time of the next retry on the monotonic clock; None if none is planned."""
        return self.timers.at((Alarm.RETRY, 0))

    def worker_runs(self) -> list[Run]:
        """Return the last run of each worker that was started at least once."""
        return [run for program in self.programs.all_workers if (run := self.service.runs.get(program.name))]

    def ready_pids(self) -> dict[int, int]:
        """Return the pids of the ready workers, by slot."""
        ready = self.service.state.ready
        return {
            run.program.slot: run.pid
            for run in self.worker_runs()
            if run.program.worker in ready and run.status is None and not run.stop_requested
        }

    def overlap_refusal(self, force: bool = False) -> str:
        """Return why a standby cannot run next to its worker, or ""; `force` ignores the memory limit."""
        if not self.programs.standbys:
            return NO_STANDBYS
        pids = [run.pid for run in self.worker_runs() if run.is_alive]
        found = None if force else headroom(pids)
        return "" if found is None or found.is_enough else f"{found.sentence}; --force starts a standby anyway"

    def display_name(self, program: Program) -> str:
        """Return the name that operators see: the worker that serves has the plain name of its slot."""
        return display_name(program, program.worker in self.service.current_workers)

    def request_restart(self, worker: int | None = None, overlap: bool = False) -> None:
        self.queue.put(RestartRequested(self.now(), worker, overlap))

    def request_stop(self) -> None:
        self.queue.put(StopRequested(self.now()))

    def recycle_for_memory(self, slot: int) -> None:
        """Request the restart of a worker that is above the memory limit."""
        self._recycle(slot, RestartCause.MEMORY_LIMIT)

    def recycle_for_requests(self, slot: int) -> None:
        """Request the restart of a worker that has reached its request limit."""
        self._recycle(slot, RestartCause.REQUEST_LIMIT)

    def _recycle(self, slot: int, cause: RestartCause) -> None:
        # With overlap if the memory suffices for a standby.
        self.queue.put(RestartRequested(self.now(), slot, overlap=not self.overlap_refusal(), cause=cause))
