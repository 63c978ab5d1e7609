"""The tables of docs/policy.md: what the policy decides in each situation listed here."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.phase import Phase
from drum_supervisor.supervise.policy import actions, events
from drum_supervisor.supervise.policy.actions import Action, Alarm
from drum_supervisor.supervise.policy.events import Event
from drum_supervisor.supervise.policy.state import Limits, RollingRestart, State, slot_of
from drum_supervisor.supervise.policy.table import decide
from tests.docs.render import table

NOW = 1000.0
REPORT = FailureReport(Cause.INIT_FAILED, "bad weights")
PERMANENT = replace(REPORT, permanent=True)
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "too late")
LIMITS = Limits(ttl=3600.0, max_retries=3, stand_in=True)
PAIR = replace(LIMITS, workers=2)


@dataclass(frozen=True)
class Situation:
    """A state in which an event arrives; `when` distinguishes it from others of the same phase."""

    when: str
    state: State
    limits: Limits = LIMITS


def _state(phase: Phase, ready: Iterable[int] = (), starting: Iterable[int] = (), **more: object) -> State:
    return State(phase, frozenset(ready), frozenset(starting), **more)  # type: ignore[arg-type]


NO_ERROR_SERVER = "`--no-error-server`"
NOT_READY = "the error server is not ready"
CRASHED = tuple(NOW - seconds for seconds in range(5, 0, -1))

ALONE: dict[Phase, list[Situation]] = {
    Phase.STARTING: [
        Situation("", _state(Phase.STARTING, starting=[1])),
        Situation(NO_ERROR_SERVER, _state(Phase.STARTING, starting=[1]), replace(LIMITS, error_server=False)),
    ],
    Phase.SERVING: [
        Situation("the first crash within the window", _state(Phase.SERVING, [1])),
        Situation("the third crash", _state(Phase.SERVING, [1], crashes=CRASHED[-2:])),
        Situation("one crash too many", _state(Phase.SERVING, [1], crashes=CRASHED)),
        Situation(
            f"one crash too many, {NO_ERROR_SERVER}",
            _state(Phase.SERVING, [1], crashes=CRASHED),
            replace(LIMITS, error_server=False),
        ),
    ],
    Phase.FAILED: [
        Situation("the error server is ready", _state(Phase.FAILED, error_server_ready=True, report=REPORT)),
        Situation(NOT_READY, _state(Phase.FAILED, report=REPORT)),
    ],
    Phase.RETRYING: [
        Situation(
            "retries are left", _state(Phase.RETRYING, starting=[1], retries=1, error_server_ready=True, report=REPORT)
        ),
        Situation(
            "no retry is left", _state(Phase.RETRYING, starting=[1], retries=3, error_server_ready=True, report=REPORT)
        ),
        Situation(NOT_READY, _state(Phase.RETRYING, starting=[1], retries=1, report=REPORT)),
    ],
    Phase.STOPPING: [
        Situation("on request", _state(Phase.STOPPING)),
        Situation("after initialization failed", _state(Phase.STOPPING, report=REPORT, exit_code=ExitCode.INIT_FAILED)),
    ],
}

EVENTS: tuple[tuple[str, Event], ...] = (
    ("the supervisor is up", events.SupervisorStarted(NOW)),
    ("ready", events.WorkerReady(NOW)),
    ("initialization failed", events.WorkerInitFailed(NOW, REPORT)),
    ("initialization failed permanently", events.WorkerInitFailed(NOW, PERMANENT)),
    ("failed probation", events.FailedProbation(NOW, REPORT)),
    ("exited", events.WorkerExited(NOW, REPORT)),
    ("liveness probes failed", events.LivenessFailed(NOW, REPORT)),
    ("one of its own workers was OOM-killed", events.OwnWorkerOomKilled(NOW, REPORT)),
    ("deadline passed", events.StartupTimedOut(NOW, LATE)),
    ("restart of the worker is due", events.WorkerRestartDue(NOW)),
    ("restart requested", events.RestartRequested(NOW)),
    ("stopped as requested", events.WorkerStopped(NOW)),
    ("start of the worker requested", events.StartWorkerRequested(NOW)),
    ("stop of the worker requested", events.StopWorkerRequested(NOW)),
    ("retry is due", events.RetryDue(NOW)),
    ("error server is ready", events.ErrorServerReady(NOW)),
    ("error server exited", events.ErrorServerExited(NOW)),
    ("error server cannot start", events.ErrorServerExited(NOW, was_ready=False)),
    ("plain error server cannot start", events.ErrorServerExited(NOW, was_ready=False, plain=True)),
    ("restart of the error server is due", events.ErrorServerRestartDue(NOW)),
    ("stand-in exited", events.StandInExited(NOW)),
    ("stand-in cannot start", events.StandInExited(NOW, was_ready=False)),
    ("restart of the stand-in is due", events.StandInRestartDue(NOW)),
    ("TTL expired", events.ErrorServerTtlExpired(NOW)),
    ("an essential program exited", events.EssentialProgramExited(NOW, 7, "metrics exited with status 7")),
    ("stop requested", events.StopRequested(NOW)),
    ("everything stopped", events.AllStopped(NOW)),
)


@dataclass(frozen=True)
class Case:
    """An event of one of two workers, and the state of the other."""

    event: str
    when: str
    state: State
    happens: tuple[Event, ...]


FAILS = (events.WorkerInitFailed(NOW, REPORT, 1), events.WorkerExited(NOW, REPORT, 1))
HANGS = (events.LivenessFailed(NOW, REPORT),)
STOP = (events.StopWorkerRequested(NOW, 1),)
START = (events.StartWorkerRequested(NOW, 1),)
FAILS_PROBATION = (events.FailedProbation(NOW, REPORT, 1),)
OOM_KILLED = (events.OwnWorkerOomKilled(NOW, REPORT, 1),)
ONE_OOM_KILLED = "one of worker 1's own workers was OOM-killed"
ONE_FAILS = "initialization of worker 1 failed, worker 1 exited"
TOO_MANY = "one crash too many, "
BOTH_STARTING = _state(Phase.STARTING, starting=[1, 2])
BOTH_RETRYING = _state(Phase.RETRYING, starting=[1, 2], retries=3, report=REPORT)

TOGETHER: tuple[Case, ...] = (
    Case("worker 1 is ready", "2 is starting", BOTH_STARTING, (events.WorkerReady(NOW, 1),)),
    Case(ONE_FAILS, "2 is starting", BOTH_STARTING, FAILS),
    Case(ONE_FAILS, "2 has failed", _state(Phase.STARTING, starting=[1]), FAILS),
    Case("deadline passed", "2 has failed, or is starting", BOTH_STARTING, (events.StartupTimedOut(NOW, LATE),)),
    Case("restart of worker 1 requested", "", BOTH_STARTING, (events.RestartRequested(NOW, 1),)),
    Case("worker 1 is ready", "2 is ready", _state(Phase.SERVING, [2], [1]), (events.WorkerReady(NOW, 1),)),
    Case(ONE_FAILS, "2 is ready", _state(Phase.SERVING, [1, 2]), FAILS),
    Case("worker 1 failed probation", "2 is ready", _state(Phase.SERVING, [1, 2]), FAILS_PROBATION),
    Case(ONE_FAILS, "2 is starting", _state(Phase.SERVING, [1], [2]), FAILS),
    Case(ONE_OOM_KILLED, "2 is ready", _state(Phase.SERVING, [1, 2]), OOM_KILLED),
    Case(ONE_OOM_KILLED, f"{TOO_MANY}2 is ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), OOM_KILLED),
    Case(ONE_OOM_KILLED, f"{TOO_MANY}2 was given up", _state(Phase.SERVING, [1], crashes=CRASHED), OOM_KILLED),
    Case(ONE_FAILS, f"{TOO_MANY}2 is ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), FAILS),
    Case(ONE_FAILS, f"{TOO_MANY}2 is starting", _state(Phase.SERVING, [1], [2], crashes=CRASHED), FAILS),
    Case(ONE_FAILS, f"{TOO_MANY}2 was given up", _state(Phase.SERVING, [1], crashes=CRASHED), FAILS),
    Case("liveness probes failed", "1 and 2 are ready", _state(Phase.SERVING, [1, 2]), HANGS),
    Case("liveness probes failed", "2 is starting", _state(Phase.SERVING, [1], [2]), HANGS),
    Case(
        "liveness probes failed", f"{TOO_MANY}1 and 2 are ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), HANGS
    ),
    Case("deadline passed", "2 is starting", _state(Phase.SERVING, [1], [2]), (events.StartupTimedOut(NOW, LATE),)),
    Case(
        "restart of worker 1 requested",
        "2 is ready",
        _state(Phase.SERVING, [1, 2]),
        (events.RestartRequested(NOW, 1),),
    ),
    Case("restart requested", "", _state(Phase.SERVING, [1, 2]), (events.RestartRequested(NOW),)),
    Case("stop of worker 1 requested", "2 is ready", _state(Phase.SERVING, [1, 2]), STOP),
    Case(
        "stop of worker 1 requested",
        "2 is stopped",
        _state(Phase.SERVING, [1], stopped_by_operator=frozenset({2})),
        STOP,
    ),
    Case(
        "start of worker 1 requested",
        "2 is ready",
        _state(Phase.SERVING, [2], stopped_by_operator=frozenset({1})),
        START,
    ),
    Case(
        "start of worker 1 requested",
        "2 is stopped",
        _state(Phase.STARTING, stopped_by_operator=frozenset({1, 2})),
        START,
    ),
    Case(
        "restart of worker 1 requested, restart requested",
        "",
        _state(Phase.FAILED, report=REPORT),
        (events.RestartRequested(NOW, 1), events.RestartRequested(NOW)),
    ),
    Case("worker 1 is ready", "2 is starting", BOTH_RETRYING, (events.WorkerReady(NOW, 1),)),
    Case(ONE_FAILS, "2 is starting", BOTH_RETRYING, FAILS),
    Case(ONE_FAILS, "2 has failed, no retry is left", replace(BOTH_RETRYING, starting=frozenset({1})), FAILS),
)

BOTH_READY = _state(Phase.SERVING, [1, 2])
_OVERLAP = RollingRestart(pending=(2,), overlap=True, successor=3, predecessor=1)
SUCCESSOR_STARTS = _state(Phase.SERVING, [1, 2], [3], rolling_restart=_OVERLAP)
SUCCESSOR_SERVES = _state(Phase.SERVING, [2, 3], rolling_restart=replace(_OVERLAP, successor=0), swapped=frozenset({1}))
FIRST_STARTS = _state(Phase.SERVING, [2], [1], rolling_restart=RollingRestart(pending=(2,), successor=1))
SUCCESSOR_FAILS = (events.WorkerInitFailed(NOW, REPORT, 3), events.WorkerExited(NOW, REPORT, 3))

REPLACED: tuple[Case, ...] = (
    Case("restart requested", "", BOTH_READY, (events.RestartRequested(NOW),)),
    Case("worker 1 is ready again", "2 is next", FIRST_STARTS, (events.WorkerReady(NOW, 1),)),
    Case(ONE_FAILS, "2 is next, and keeps running", FIRST_STARTS, FAILS),
    Case("restart with overlap requested", "", BOTH_READY, (events.RestartRequested(NOW, overlap=True),)),
    Case("the successor of worker 1 is ready", "", SUCCESSOR_STARTS, (events.WorkerReady(NOW, 3),)),
    Case("the successor of worker 1 failed or exited", "", SUCCESSOR_STARTS, SUCCESSOR_FAILS),
    Case("deadline passed", "the successor is starting", SUCCESSOR_STARTS, (events.StartupTimedOut(NOW, LATE),)),
    Case("worker 1 exited", "its successor is starting", SUCCESSOR_STARTS, (events.WorkerExited(NOW, REPORT, 1),)),
    Case("liveness probes failed", "a successor is starting", SUCCESSOR_STARTS, HANGS),
    Case("worker 1 stopped as requested", "its successor serves", SUCCESSOR_SERVES, (events.WorkerStopped(NOW, 1),)),
)

HEADINGS = ["phase", "event", "when", "next", "actions"]
Outcome = tuple[str, str]  # next phase, actions


def policy() -> str:
    """Return the actions for each event in each phase, with one worker."""
    return table(HEADINGS, [[phase.value, *row] for phase, here in ALONE.items() for row in _rows(here)])


def policy_of_workers() -> str:
    """Return the actions for events of one of two workers."""
    return table(HEADINGS, [_row(case) for case in TOGETHER])


def rolling_restart() -> str:
    """Return the steps of a rolling restart of two workers."""
    return table(HEADINGS, [_row(case) for case in REPLACED])


def _row(case: Case) -> list[str]:
    outcomes = {_outcome(event, Situation("", case.state, PAIR)) for event in case.happens}
    assert len(outcomes) == 1, f"{case.event}: the outcomes differ"
    return [case.state.phase.value, case.event, case.when, *outcomes.pop()]


def _rows(situations: list[Situation]) -> list[list[str]]:
    """Return one row per outcome with all events that have it; those without actions come last."""
    outcomes: dict[tuple[str, Outcome], list[str]] = {}
    for label, event in EVENTS:
        for when, outcome in _outcomes(event, situations):
            outcomes.setdefault((when, outcome), []).append(label)
    rows = [[", ".join(labels), when, *outcome] for (when, outcome), labels in outcomes.items()]
    return sorted(rows, key=lambda row: row[-1] == NOTHING)


def _outcomes(event: Event, situations: list[Situation]) -> list[tuple[str, Outcome]]:
    """Return the outcome in each situation, or a single one if all are equal."""
    outcomes: dict[Outcome, list[str]] = {}
    for situation in situations:
        outcomes.setdefault(_outcome(event, situation), []).append(situation.when)
    return [("" if len(outcomes) == 1 else "; ".join(when), outcome) for outcome, when in outcomes.items()]


NOTHING = "nothing"


def _outcome(event: Event, situation: Situation) -> Outcome:
    state, actions = decide(situation.state, event, situation.limits)
    described = [_describe(action, situation.limits) for action in actions]
    next_phase = state.phase.value if state.phase is not situation.state.phase else "same"
    return next_phase, ", ".join(described) or NOTHING


ALARMS = {
    Alarm.DEADLINE: "the deadline",
    Alarm.RETRY: "the retry",
    Alarm.TTL: "the TTL",
    Alarm.WORKER: "the scheduled restart",
    Alarm.ERROR_SERVER: "the scheduled restart of the error server",
    Alarm.STAND_IN: "the scheduled restart of the stand-in",
}


def _worker(number: int, limits: Limits) -> str:
    slot = slot_of(number, limits)
    name = f"worker {slot}" if limits.workers > 1 else "the worker"
    return name if number == slot else f"the successor of {name}"


def _describe(action: Action, limits: Limits) -> str:
    worker = _worker(getattr(action, "worker", 0), limits)
    match action:
        case actions.StartWorker():
            return f"start {worker}"
        case actions.StopWorker():
            return f"stop {worker}"
        case actions.StartErrorServer(plain):
            return "start the plain error server" if plain else "start the error server"
        case actions.StopErrorServer():
            return "stop the error server"
        case actions.StartStandIn():
            return "start the stand-in"
        case actions.StopStandIn():
            return "stop the stand-in"
        case actions.SaveReport():
            return "save the report"
        case actions.SetAlarm(Alarm.WORKER, after):
            return f"start {worker} in {after:g} s"
        case actions.SetAlarm(Alarm.RETRY, after):
            return f"retry in {after:g} s"
        case actions.SetAlarm(Alarm.ERROR_SERVER, after):
            return f"start the error server in {after:g} s"
        case actions.SetAlarm(Alarm.STAND_IN, after):
            return f"start the stand-in in {after:g} s"
        case actions.SetAlarm(alarm):
            return f"set {ALARMS[alarm]}"
        case actions.CancelAlarm(alarm):
            return f"cancel {ALARMS[alarm]}"
        case actions.StopAll():
            return "stop everything"
        case actions.KillAll():
            return "kill everything"
        case actions.Exit(code):
            return f"exit with {code:d}"
