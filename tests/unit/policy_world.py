"""All events, typical limits, the policy's invariants, and a simulation of the processes it controls."""

import random
from collections.abc import Iterable

from drum_supervisor.supervise.policy import events
from drum_supervisor.supervise.policy.actions import (
    Action,
    Alarm,
    CancelAlarm,
    Exit,
    KillAll,
    SaveReport,
    SetAlarm,
    StartErrorServer,
    StartStandIn,
    StartWorker,
    StopAll,
    StopErrorServer,
    StopStandIn,
    StopWorker,
)
from drum_supervisor.supervise.policy.events import (
    AllStopped,
    ErrorServerExited,
    ErrorServerReady,
    ErrorServerRestartDue,
    ErrorServerTtlExpired,
    EssentialProgramExited,
    Event,
    LivenessFailed,
    OwnWorkerOomKilled,
    RestartCause,
    RestartRequested,
    RetryDue,
    StandInExited,
    StandInRestartDue,
    StartupTimedOut,
    StartWorkerRequested,
    StopWorkerRequested,
    WorkerExited,
    WorkerInitFailed,
    WorkerReady,
    WorkerRestartDue,
    WorkerStopped,
)
from drum_supervisor.supervise.policy.state import Limits, RollingRestart, State, attempts_left, slot_of, wanted_workers
from drum_supervisor.supervise.policy.table import decide
from tests.unit.policy_stories import (
    BAD,
    FAILED,
    HANGS,
    LATE,
    PERMANENT,
    RETRYING,
    SEGFAULT,
    SERVING,
    STARTING,
    STOPPING,
    TOO_LARGE,
    WORSE,
    Story,
)

EVENTS: tuple[type[Event], ...] = tuple(
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, Event) and not value.__subclasses__()
)

ALL_LIMITS = [
    Limits(),
    Limits(max_restarts=0),
    Limits(error_server=False),
    Limits(workers=3, stand_in=True),
    Limits(workers=2, max_retries=2, ttl=100.0, restart_window=10.0, max_restarts=2),
    Limits(max_retries=3, retry_permanent=True, stand_in=True, max_restarts=1),
    Limits(workers=4, max_retries=10**6, max_restarts=10**6, retry_interval=0.0, stand_in=True),
    Limits(workers=2, error_server=False, max_restarts=1, stand_in=True),
]


def random_event(kind: type[Event], at: float, chance: random.Random, workers: int) -> Event:
    """Return an event of this kind with random details."""
    about: dict[str, object] = {}
    names = kind.__dataclass_fields__
    if "report" in names:
        about["report"] = chance.choice([BAD, WORSE, PERMANENT, SEGFAULT, LATE])
    if "worker" in names:
        about["worker"] = chance.randint(1, 2 * workers)
    if kind is RestartRequested:
        about["worker"] = chance.choice([None, chance.randint(1, workers)])
        about |= {"overlap": chance.random() < 0.5, "cause": chance.choice(list(RestartCause))}
    if kind is EssentialProgramExited:
        about |= {"code": 7, "reason": "metrics, an essential program, exited with status 7"}
    if kind is ErrorServerExited:
        about |= {"was_ready": chance.random() < 0.5, "plain": chance.random() < 0.5}
    if kind is StandInExited:
        about["was_ready"] = chance.random() < 0.5
    return kind(at, **about)


def check_invariants(state: State, actions: Iterable[Action], event: Event, before: State, limits: Limits) -> None:
    """Assert what must hold after every decision."""
    actions = list(actions)
    kinds = [type(action) for action in actions]
    assert not state.ready & state.starting
    roll = state.rolling_restart or RollingRestart()
    assert state.ready | state.starting <= wanted_workers(state, limits) | {roll.successor, roll.predecessor}
    assert not roll.successor or roll.successor in state.starting
    assert not (roll.successor and roll.predecessor) or roll.predecessor in state.ready
    assert not {slot_of(worker, limits) for worker in state.ready | state.starting} & state.stopped_by_operator
    assert state.stopped_by_operator <= limits.slots
    assert bool(state.ready) == (state.phase is SERVING)
    assert bool(state.starting) or state.phase is not RETRYING
    assert bool(state.starting or state.stopped_by_operator) or state.phase is not STARTING
    assert not state.starting or state.phase not in (FAILED, STOPPING)
    assert (state.report is not None) or state.phase not in (FAILED, RETRYING)
    assert state.restart_failure is None or state.phase not in (FAILED, RETRYING)  # no rolling restart was under way
    assert (
        state.report is None
        or state.phase in (FAILED, RETRYING, STOPPING)
        or not state.ready >= wanted_workers(state, limits)
    )
    assert state.attempt >= 1
    assert list(state.crashes) == sorted(state.crashes)
    assert all(at >= state.crashes[-1] - limits.restart_window for at in state.crashes)
    if StartErrorServer in kinds:
        assert state.phase in (FAILED, RETRYING)
        assert limits.error_server
    assert not state.error_server_ready or state.phase in (FAILED, RETRYING, STOPPING)
    if StartStandIn in kinds:
        assert state.phase in (STARTING, FAILED, RETRYING)
        assert limits.stand_in
        assert not state.error_server_ready
    if Exit in kinds:
        assert isinstance(event, AllStopped)
        assert actions == [Exit(before.exit_code)]
        assert before.phase is STOPPING
    if KillAll in kinds:
        assert before.phase is STOPPING
    assert (StopAll in kinds) == (state.phase is STOPPING and before.phase is not STOPPING)
    if before.phase is STOPPING:
        assert state == before
    if state.phase is FAILED and before.phase is not FAILED and not isinstance(event, StopWorkerRequested):
        assert kinds.index(SaveReport) < kinds.index(StartErrorServer)
    for action in actions:
        if isinstance(action, StartWorker):
            assert action.worker in state.starting
        if isinstance(action, StopWorker):
            assert action.worker not in state.ready
        if isinstance(action, SetAlarm):
            assert 0.0 <= action.after <= 10**10
    assert len({(p.alarm, p.worker) for p in actions if isinstance(p, SetAlarm)}) == kinds.count(SetAlarm)


class World:
    """Processes and alarms as the actions leave them; only possible events happen."""

    def __init__(self, limits: Limits, seed: str) -> None:
        self.chance = random.Random(seed)
        self.story = Story(limits)
        self.running: set[int] = set()
        self.leaving: set[int] = set()
        self.alarms: dict[tuple[Alarm, int], float] = {}
        self.error_server = ""
        self.stand_in = False
        self.ended = False

    def possible(self) -> list[Event]:
        """Return the events that may happen next."""
        now, state = self.story.now, self.story.state
        report = self.chance.choice([BAD, WORSE, PERMANENT, SEGFAULT])
        found: list[Event] = []
        for worker in sorted(self.running):
            found += [WorkerExited(now, report, worker), WorkerInitFailed(now, report, worker)]
            found += [WorkerReady(now, worker)] * 3 if worker in state.starting else []
            found.append(OwnWorkerOomKilled(now, TOO_LARGE, worker))
        if state.ready:
            found.append(LivenessFailed(now, HANGS))
        if self.error_server:
            plain = self.error_server == "plain"
            found += [ErrorServerExited(now, True, plain), ErrorServerExited(now, False, plain)]
            found += [] if state.error_server_ready else [ErrorServerReady(now)]
        if self.stand_in:
            found.append(StandInExited(now))
        found += [WorkerStopped(now, worker) for worker in sorted(self.leaving)] * 2
        one = self.chance.choice(sorted(self.story.limits.slots))
        overlap = self.chance.random() < 0.5
        cause = self.chance.choice(list(RestartCause))
        found += [RestartRequested(now, None, overlap), RestartRequested(now, one, overlap, cause)]
        return [*found, StopWorkerRequested(now, one), StartWorkerRequested(now, one), StartWorkerRequested(now, one)]

    def next_event(self) -> Event:
        """Return the event of the earliest alarm, or one that happens before it."""
        story = self.story
        first = min(self.alarms, key=lambda key: self.alarms[key], default=None)
        if first is not None and self.chance.random() < 0.3:
            story.now = max(story.now, self.alarms.pop(first))
            return self.event_of_alarm(*first)
        return self.chance.choice(self.possible())

    def event_of_alarm(self, alarm: Alarm, worker: int) -> Event:
        now = self.story.now
        if alarm is Alarm.DEADLINE:
            return StartupTimedOut(now, LATE)
        if alarm is Alarm.WORKER:
            return WorkerRestartDue(now, worker)
        if alarm is Alarm.STAND_IN:
            return StandInRestartDue(now)
        return {Alarm.RETRY: RetryDue, Alarm.TTL: ErrorServerTtlExpired, Alarm.ERROR_SERVER: ErrorServerRestartDue}[
            alarm
        ](now)

    def step(self, event: Event) -> None:
        """Let `event` happen and carry out the resulting actions."""
        if isinstance(event, WorkerExited):
            self.running.discard(event.worker)
        if isinstance(event, WorkerStopped):
            self.leaving.discard(event.worker)
        if isinstance(event, ErrorServerExited):
            self.error_server = ""
        if isinstance(event, StandInExited):
            self.stand_in = False
        before = self.story.state
        self.story.state, actions = decide(before, event, self.story.limits)
        check_invariants(self.story.state, actions, event, before, self.story.limits)
        for action in actions:
            self.carry_out(action)

    def carry_out(self, action: Action) -> None:
        match action:
            case StartWorker(worker):
                self.running.add(worker)
            case StopWorker(worker):
                if worker in self.running:
                    self.leaving.add(worker)
                self.running.discard(worker)
            case StartErrorServer(plain):
                self.error_server = self.error_server or ("plain" if plain else "error")
            case StopErrorServer():
                self.error_server = ""
            case StartStandIn():
                self.stand_in = True
            case StopStandIn():
                self.stand_in = False
            case SetAlarm(alarm, after, worker):
                self.alarms[alarm, worker] = self.story.now + after
            case CancelAlarm(alarm):
                self.alarms = {key: at for key, at in self.alarms.items() if key[0] is not alarm}
            case StopAll():
                self.running, self.error_server, self.stand_in = set(), "", False
            case Exit():
                self.ended = True

    def is_planned(self, alarm: Alarm, worker: int = 0) -> bool:
        return (alarm, worker) in self.alarms

    def check(self) -> None:
        """Assert that every wait has an alarm or a process behind it, and that the state knows every process."""
        state, limits = self.story.state, self.story.limits
        phase = state.phase
        assert 0 <= state.retries <= limits.max_retries
        waiting = {worker for worker in state.starting if self.is_planned(Alarm.WORKER, worker)}
        assert state.ready <= self.running <= state.ready | state.starting
        assert state.starting <= self.running | waiting
        assert self.is_planned(Alarm.DEADLINE) or not state.starting
        assert state.rolling_restart is None or state.starting or state.rolling_restart.predecessor in self.leaving
        assert self.is_planned(Alarm.RETRY) == (phase is FAILED and attempts_left(state, limits) > 0)
        assert self.is_planned(Alarm.TTL) == (phase in (FAILED, RETRYING) and limits.ttl > 0)
        answered = phase is SERVING or state.error_server_ready
        assert not self.stand_in or not answered
        if limits.stand_in and not answered:
            assert self.stand_in or self.is_planned(Alarm.STAND_IN)
        if phase in (FAILED, RETRYING):
            assert self.error_server or self.is_planned(Alarm.ERROR_SERVER)
        else:
            assert not self.error_server
