"""Tables of the documentation, rendered from the code; each stands in its page between two markers.

`UPDATE_DOCS=1 pytest tests/docs` writes the pages anew.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drum_supervisor.contract.exits import ExitCode, of_signal
from drum_supervisor.contract.failure import Cause, FailureReport
from drum_supervisor.declaration import Declaration
from drum_supervisor.metrics.catalogue import Kind, Metric
from drum_supervisor.profiles import PROFILES
from drum_supervisor.settings import DECLARATIONS
from drum_supervisor.supervise import further_keys, history
from drum_supervisor.supervise.history import Action, Alarm, Event, Phase
from drum_supervisor.supervise.policy import decide
from drum_supervisor.supervise.state import Limits, Roll, State, place_of
from parity.declared import TOPICS, Declared

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs"
UPDATING = os.environ.get("UPDATE_DOCS", "") not in ("", "0")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def in_page(page: str, name: str) -> str:
    """Return what stands between the markers of table `name` in a page."""
    return _split(page, name)[1]


def write(page: str, name: str, content: str) -> None:
    """Put `content` between the markers of table `name` in a page."""
    before, _, after = _split(page, name)
    (PAGES / page).write_text(f"{before}{content}{after}", encoding="utf-8")


def _split(page: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: rendered from the code -->\n", f"\n<!-- end of {name} -->"
    text = (PAGES / page).read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    content, found_too, after = rest.partition(end)
    assert found and found_too, f"docs/{page} has no place for {name}: {begin}...{end}"  # noqa: PT018
    return before + begin, content, end + after


# --- settings


def options() -> str:
    """Return every option with its variables, default and meaning."""
    rows = [
        [_option(each), _variables(each), f"`{each.default}`" if each.default else "-", each.help]
        for each in DECLARATIONS.values()
    ]
    return table(["option", "environment variables", "default", "meaning"], rows)


def _option(declared: Declaration) -> str:
    return f"`{declared.option}`, `{declared.off}`" if declared.off else f"`{declared.option} {declared.metavar}`"


def _variables(declared: Declaration) -> str:
    return "<br>".join(f"`{variable}`" for variable in declared.all_variables)


def profiles() -> str:
    """Return what each profile sets."""
    names = list(dict.fromkeys(name for values in PROFILES.values() for name in values))
    rows = [[f"`{DECLARATIONS[name].option}`", *(_value(profile, name) for profile in PROFILES)] for name in names]
    return table(["", *(f"`{profile}`" for profile in PROFILES)], rows)


def _value(profile: str, name: str) -> str:
    text = PROFILES[profile].get(name, DECLARATIONS[name].default)
    return f"`{text}`" if text else "-"


# --- the configuration file

SECTIONS = {
    "supervisord": ("[supervisord]", "for all programs, ours too"),
    "program:model-server": ("[program:model-server]", "how each worker runs; its command is on the command line"),
    "program:error-server": ("[program:error-server]", "how the error server runs"),
    "program": ("[program:NAME]", "a further program; `essential` is ours, all others are supervisord's"),
    "group": ("[group:NAME]", "further programs as one group"),
    "eventlistener": ("[eventlistener:NAME]", "a program that is told of events"),
    "inet_http_server": ("[inet_http_server]", "supervisord's interface over TCP: only if there is such a section"),
}


def file_keys() -> str:
    """Return what each section may have."""
    assert SECTIONS.keys() == further_keys.ALLOWED.keys()
    rows = [
        [f"`{heading}`", meaning, ", ".join(f"`{key}`" for key in sorted(further_keys.ALLOWED[kind]))]
        for kind, (heading, meaning) in SECTIONS.items()
    ]
    return table(["section", "what for", "keys"], [*rows, ["`[include]`", "more files, by pattern", "`files`"]])


def _told_of_the_model_server(kind: str) -> set[tuple[str, str]]:
    return set(further_keys.REFUSED["program:model-server"].items()) if kind == "program:error-server" else set()


def refused_keys() -> str:
    """Return what is refused, and why; keys with the same reason together."""
    rows = [
        [f"`[{kind}{'' if '_' in kind else ':NAME'}]`", reason]
        for kind, reason in further_keys.REFUSED_SECTIONS.items()
    ]
    for kind, refused in further_keys.REFUSED.items():
        by_reason: dict[str, list[str]] = {}
        told = _told_of_the_model_server(kind)
        for key, reason in refused.items():
            if (key, reason) in told:
                continue
            by_reason.setdefault(reason, []).append(f"`{key}`")
        heading = SECTIONS[kind][0]
        rows += [[f"`{heading}`: {', '.join(keys)}", reason] for reason, keys in by_reason.items()]
    return table(["refused", "because"], rows)


# --- exit codes

CODES = {
    ExitCode.STOPPED: "stopped on request: a signal, or `drum-supervise stop`",
    ExitCode.USAGE: "bad usage or configuration: an option, a variable, the configuration file, the run directory",
    ExitCode.INIT_FAILED: "initialization failed",
    ExitCode.STARTUP_TIMEOUT: "not ready within `--startup-timeout`",
    ExitCode.KEPT_DYING: "kept dying after it had been ready (`--max-restarts` within `--restart-window`)",
    ExitCode.ADDRESS: "the address could not be bound: in use, not permitted, or not of this machine",
    ExitCode.INTERNAL: "internal error: a bug of drum_supervisor, with a traceback on stderr",
}


def exit_codes() -> str:
    """Return the published exit codes."""
    rows = [[f"{code.value}", CODES[code]] for code in ExitCode]
    rows.append(
        [f"{of_signal(0)} + n", "the model server died of signal n and was not replaced: 137 is SIGKILL, 139 SIGSEGV"]
    )
    return table(["exit code", "meaning"], rows)


CAUSES = {
    Cause.INIT_FAILED: "it said so, or ended before it was ready",
    Cause.STARTUP_TIMEOUT: "it was not ready in time",
    Cause.KEPT_DYING: "it had been ready, and died, or answered no more, more often than is answered by a restart",
    Cause.DIED: "it had been ready, died, or answered no more, and `--max-restarts 0` allows no restart",
}


def causes() -> str:
    """Return the exit code of each cause."""
    rows = []
    for cause in Cause:
        ended, killed = (FailureReport(cause, "", signal=signal).exit_code for signal in (None, 9))
        rows.append([f"`{cause.value}`", CAUSES[cause], f"{ended:d}", f"{killed:d}"])
    return table(["cause", "what happened", "exit code", "if SIGKILL ended it"], rows)


# --- metrics


def metrics(declared: Iterable[Metric]) -> str:
    """Return metrics with what they are called where they are sent."""
    return table(["for Prometheus", "labels", "over OTLP", "what it says"], [_metric(each) for each in declared])


def _metric(metric: Metric) -> list[str]:
    kind = "" if metric.kind is Kind.INFO else f", {metric.kind.value}"
    sent = f"`{metric.sent_as.name}`, {metric.sent_as.unit}" if metric.sent_as else "-"
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return [f"`{metric.name}`{kind}" if metric.name else "-", labels, sent, metric.help]


# --- figures beside peers

FIGURES = PAGES / "performance.json"
DRAWING = PAGES / "performance.svg"


def figures() -> Any:
    """Return what was measured last for the documentation: `make bench DOCS=1`."""
    return json.loads(FIGURES.read_text(encoding="utf-8"))


# --- differences from DRUM


def differences() -> str:
    """Return what differs from DRUM on purpose, a table for each topic."""
    headings = ["where", "DRUM", "ours", "why"]
    tables = [
        f"### {topic}\n\n{table(headings, [_difference(each) for each in declared])}"
        for topic, declared in TOPICS.items()
    ]
    return "\n\n".join(tables)


def _difference(declared: Declared) -> list[str]:
    texts = [f"`{text.replace('*', '…')}`" if text != "*" else "anything" for text in (declared.drum, declared.ours)]
    return [_where(declared), *texts, declared.why]


def _where(declared: Declared) -> str:
    """Name requests and models, if not all are meant, and the part of the answer, if it is not its first line."""
    requests = ", ".join(f"“{name.replace('*', '…')}”" for name in declared.requests if name != "*")
    models = ", ".join(f"`{name}`" for name in declared.models if name != "*")
    part = "" if declared.kind == "answer" else declared.kind.replace("header x*", "headers")
    return "; ".join(filter(None, [part, requests, models and f"models {models}"])) or "everywhere"


# --- the policy

NOW = 1000.0
REPORT = FailureReport(Cause.INIT_FAILED, "bad weights")
FOR_GOOD = replace(REPORT, permanent=True)
LATE = FailureReport(Cause.STARTUP_TIMEOUT, "too late")
LIMITS = Limits(ttl=3600.0, max_retries=3, stand_in=True)
PAIR = replace(LIMITS, workers=2)


@dataclass(frozen=True)
class Situation:
    """Where a service may stand when something happens; `when` tells it from others of the same phase."""

    when: str
    state: State
    limits: Limits = LIMITS


def _state(phase: Phase, ready: Iterable[int] = (), coming: Iterable[int] = (), **more: object) -> State:
    return State(phase, frozenset(ready), frozenset(coming), **more)  # type: ignore[arg-type]


NO_ERROR_SERVER = "`--no-error-server`"
UNEXPLAINED = "the error server does not answer yet"
CRASHED = tuple(NOW - seconds for seconds in range(5, 0, -1))

ALONE: dict[Phase, list[Situation]] = {
    Phase.STARTING: [
        Situation("", _state(Phase.STARTING, coming=[1])),
        Situation(NO_ERROR_SERVER, _state(Phase.STARTING, coming=[1]), replace(LIMITS, error_server=False)),
    ],
    Phase.SERVING: [
        Situation("the first time within the window", _state(Phase.SERVING, [1])),
        Situation("the third time", _state(Phase.SERVING, [1], crashes=CRASHED[-2:])),
        Situation("once too often", _state(Phase.SERVING, [1], crashes=CRASHED)),
        Situation(
            f"once too often, {NO_ERROR_SERVER}",
            _state(Phase.SERVING, [1], crashes=CRASHED),
            replace(LIMITS, error_server=False),
        ),
    ],
    Phase.FAILED: [
        Situation("the error server answers", _state(Phase.FAILED, explained=True, report=REPORT)),
        Situation(UNEXPLAINED, _state(Phase.FAILED, report=REPORT)),
    ],
    Phase.RETRYING: [
        Situation("retries are left", _state(Phase.RETRYING, coming=[1], retries=1, explained=True, report=REPORT)),
        Situation("no retry is left", _state(Phase.RETRYING, coming=[1], retries=3, explained=True, report=REPORT)),
        Situation(UNEXPLAINED, _state(Phase.RETRYING, coming=[1], retries=1, report=REPORT)),
    ],
    Phase.STOPPING: [
        Situation("on request", _state(Phase.STOPPING)),
        Situation("after initialization failed", _state(Phase.STOPPING, report=REPORT, exit_code=ExitCode.INIT_FAILED)),
    ],
}

EVENTS: tuple[tuple[str, Event], ...] = (
    ("the supervisor is up", history.Begun(NOW)),
    ("ready", history.Ready(NOW)),
    ("initialization failed", history.InitFailed(NOW, REPORT)),
    ("initialization failed for good", history.InitFailed(NOW, FOR_GOOD)),
    ("ready too soon", history.ReadyTooSoon(NOW, REPORT)),
    ("exited", history.Exited(NOW, REPORT)),
    ("answers no more", history.Unresponsive(NOW, REPORT)),
    ("a worker of its own was killed", history.WorkerKilled(NOW, REPORT)),
    ("deadline passed", history.DeadlinePassed(NOW, LATE)),
    ("restart of the worker is due", history.WorkerDue(NOW)),
    ("restart requested", history.RestartRequested(NOW)),
    ("a worker that was to stop is gone", history.Gone(NOW)),
    ("start of the worker requested", history.StartRequested(NOW)),
    ("stop of the worker requested", history.HoldRequested(NOW)),
    ("retry is due", history.RetryDue(NOW)),
    ("error server is ready", history.ErrorServerReady(NOW)),
    ("error server exited", history.ErrorServerExited(NOW)),
    ("error server cannot start", history.ErrorServerExited(NOW, was_ready=False)),
    ("plain error server cannot start", history.ErrorServerExited(NOW, was_ready=False, plain=True)),
    ("error server is due", history.ErrorServerDue(NOW)),
    ("stand-in exited", history.StandInExited(NOW)),
    ("stand-in cannot start", history.StandInExited(NOW, was_ready=False)),
    ("stand-in is due", history.StandInDue(NOW)),
    ("TTL over", history.TtlOver(NOW)),
    ("an essential program has ended", history.EssentialEnded(NOW, 7, "metrics exited with status 7")),
    ("stop requested", history.StopRequested(NOW)),
    ("everything has stopped", history.AllStopped(NOW)),
)


@dataclass(frozen=True)
class Case:
    """Something that happens to one of two workers, and where the other stands."""

    event: str
    when: str
    state: State
    happens: tuple[Event, ...]


FAILS = (history.InitFailed(NOW, REPORT, 1), history.Exited(NOW, REPORT, 1))
HANGS = (history.Unresponsive(NOW, REPORT),)
HOLD = (history.HoldRequested(NOW, 1),)
START = (history.StartRequested(NOW, 1),)
TOO_SOON = (history.ReadyTooSoon(NOW, REPORT, 1),)
LOST = (history.WorkerKilled(NOW, REPORT, 1),)
ONE_LOST = "a worker of worker 1's own was killed"
ONE_FAILS = "initialization of worker 1 failed, worker 1 exited"
OFTEN = "once too often, "
BOTH_COMING = _state(Phase.STARTING, coming=[1, 2])
BOTH_RETRYING = _state(Phase.RETRYING, coming=[1, 2], retries=3, report=REPORT)

TOGETHER: tuple[Case, ...] = (
    Case("worker 1 is ready", "2 is starting", BOTH_COMING, (history.Ready(NOW, 1),)),
    Case(ONE_FAILS, "2 is starting", BOTH_COMING, FAILS),
    Case(ONE_FAILS, "2 has failed", _state(Phase.STARTING, coming=[1]), FAILS),
    Case("deadline passed", "2 has failed, or is starting", BOTH_COMING, (history.DeadlinePassed(NOW, LATE),)),
    Case("restart of worker 1 requested", "", BOTH_COMING, (history.RestartRequested(NOW, 1),)),
    Case("worker 1 is ready", "2 is ready", _state(Phase.SERVING, [2], [1]), (history.Ready(NOW, 1),)),
    Case(ONE_FAILS, "2 is ready", _state(Phase.SERVING, [1, 2]), FAILS),
    Case("worker 1 was ready too soon", "2 is ready", _state(Phase.SERVING, [1, 2]), TOO_SOON),
    Case(ONE_FAILS, "2 is starting", _state(Phase.SERVING, [1], [2]), FAILS),
    Case(ONE_LOST, "2 is ready", _state(Phase.SERVING, [1, 2]), LOST),
    Case(ONE_LOST, f"{OFTEN}2 is ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), LOST),
    Case(ONE_LOST, f"{OFTEN}2 is given up", _state(Phase.SERVING, [1], crashes=CRASHED), LOST),
    Case(ONE_FAILS, f"{OFTEN}2 is ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), FAILS),
    Case(ONE_FAILS, f"{OFTEN}2 is starting", _state(Phase.SERVING, [1], [2], crashes=CRASHED), FAILS),
    Case(ONE_FAILS, f"{OFTEN}2 is given up", _state(Phase.SERVING, [1], crashes=CRASHED), FAILS),
    Case("nobody answers", "1 and 2 are ready", _state(Phase.SERVING, [1, 2]), HANGS),
    Case("nobody answers", "2 is starting", _state(Phase.SERVING, [1], [2]), HANGS),
    Case("nobody answers", f"{OFTEN}1 and 2 are ready", _state(Phase.SERVING, [1, 2], crashes=CRASHED), HANGS),
    Case("deadline passed", "2 is starting", _state(Phase.SERVING, [1], [2]), (history.DeadlinePassed(NOW, LATE),)),
    Case(
        "restart of worker 1 requested",
        "2 is ready",
        _state(Phase.SERVING, [1, 2]),
        (history.RestartRequested(NOW, 1),),
    ),
    Case("restart requested", "", _state(Phase.SERVING, [1, 2]), (history.RestartRequested(NOW),)),
    Case("stop of worker 1 requested", "2 is ready", _state(Phase.SERVING, [1, 2]), HOLD),
    Case("stop of worker 1 requested", "2 is stopped", _state(Phase.SERVING, [1], held=frozenset({2})), HOLD),
    Case("start of worker 1 requested", "2 is ready", _state(Phase.SERVING, [2], held=frozenset({1})), START),
    Case("start of worker 1 requested", "2 is stopped", _state(Phase.STARTING, held=frozenset({1, 2})), START),
    Case(
        "restart of worker 1 requested, restart requested",
        "",
        _state(Phase.FAILED, report=REPORT),
        (history.RestartRequested(NOW, 1), history.RestartRequested(NOW)),
    ),
    Case("worker 1 is ready", "2 is starting", BOTH_RETRYING, (history.Ready(NOW, 1),)),
    Case(ONE_FAILS, "2 is starting", BOTH_RETRYING, FAILS),
    Case(ONE_FAILS, "2 has failed, no retry is left", replace(BOTH_RETRYING, coming=frozenset({1})), FAILS),
)

BOTH_READY = _state(Phase.SERVING, [1, 2])
_OVERLAP = Roll(due=(2,), overlap=True, new=3, old=1)
SUCCESSOR_STARTS = _state(Phase.SERVING, [1, 2], [3], roll=_OVERLAP)
SUCCESSOR_SERVES = _state(Phase.SERVING, [2, 3], roll=replace(_OVERLAP, new=0), moved=frozenset({1}))
FIRST_STARTS = _state(Phase.SERVING, [2], [1], roll=Roll(due=(2,), new=1))
SUCCESSOR_FAILS = (history.InitFailed(NOW, REPORT, 3), history.Exited(NOW, REPORT, 3))

REPLACED: tuple[Case, ...] = (
    Case("restart requested", "", BOTH_READY, (history.RestartRequested(NOW),)),
    Case("worker 1 is ready again", "2 is still to come", FIRST_STARTS, (history.Ready(NOW, 1),)),
    Case(ONE_FAILS, "2 is still to come, and stays", FIRST_STARTS, FAILS),
    Case("restart with overlap requested", "", BOTH_READY, (history.RestartRequested(NOW, overlap=True),)),
    Case("the successor of worker 1 is ready", "", SUCCESSOR_STARTS, (history.Ready(NOW, 3),)),
    Case("the successor of worker 1 failed or exited", "", SUCCESSOR_STARTS, SUCCESSOR_FAILS),
    Case("deadline passed", "the successor is starting", SUCCESSOR_STARTS, (history.DeadlinePassed(NOW, LATE),)),
    Case("worker 1 exited", "its successor is starting", SUCCESSOR_STARTS, (history.Exited(NOW, REPORT, 1),)),
    Case("nobody answers", "a successor is starting", SUCCESSOR_STARTS, HANGS),
    Case("worker 1 is gone", "its successor serves", SUCCESSOR_SERVES, (history.Gone(NOW, 1),)),
)

HEADINGS = ["phase", "event", "when", "next", "what is done"]
Answer = tuple[str, str]  # next phase, actions


def policy() -> str:
    """Return what is done about each event in each phase, with one worker."""
    return table(HEADINGS, [[phase.value, *row] for phase, here in ALONE.items() for row in _rows(here)])


def policy_of_workers() -> str:
    """Return what is done about the events of one of two workers."""
    return table(HEADINGS, [_row(case) for case in TOGETHER])


def replacing() -> str:
    """Return how two workers are replaced."""
    return table(HEADINGS, [_row(case) for case in REPLACED])


def _row(case: Case) -> list[str]:
    answers = {_answer(event, Situation("", case.state, PAIR)) for event in case.happens}
    assert len(answers) == 1, f"{case.event}: the answers differ"
    return [case.state.phase.value, case.event, case.when, *answers.pop()]


def _rows(situations: list[Situation]) -> list[list[str]]:
    """Return a row for each answer, with all events that have it; what is no concern of this phase comes last."""
    events: dict[tuple[str, Answer], list[str]] = {}
    for words, event in EVENTS:
        for when, answer in _answers(event, situations):
            events.setdefault((when, answer), []).append(words)
    rows = [[", ".join(words), when, *answer] for (when, answer), words in events.items()]
    return sorted(rows, key=lambda row: row[-1] == NOTHING)


def _answers(event: Event, situations: list[Situation]) -> list[tuple[str, Answer]]:
    """Return the one answer, or, where situations differ in it, the answer in each."""
    answers: dict[Answer, list[str]] = {}
    for situation in situations:
        answers.setdefault(_answer(event, situation), []).append(situation.when)
    return [("" if len(answers) == 1 else "; ".join(when), answer) for answer, when in answers.items()]


NOTHING = "nothing"


def _answer(event: Event, situation: Situation) -> Answer:
    state, actions = decide(situation.state, event, situation.limits)
    said = [words for action in actions if (words := _words(action, situation.limits))]
    next_phase = state.phase.value if state.phase is not situation.state.phase else "same"
    return next_phase, ", ".join(said) or NOTHING


ALARMS = {
    Alarm.DEADLINE: "the deadline",
    Alarm.RETRY: "the retry",
    Alarm.END: "the TTL",
    Alarm.WORKER: "the planned restart",
    Alarm.ERROR_SERVER: "the planned restart of the error server",
    Alarm.STAND_IN: "the planned restart of the stand-in",
}


def _worker(number: int, limits: Limits) -> str:
    place = place_of(number, limits)
    name = f"worker {place}" if limits.workers > 1 else "the worker"
    return name if number == place else f"the successor of {name}"


def _words(action: Action, limits: Limits) -> str:
    """Say an action in words."""
    worker = _worker(getattr(action, "worker", 0), limits)
    match action:
        case history.StartWorker():
            return f"start {worker}"
        case history.StopWorker():
            return f"stop {worker}"
        case history.StartErrorServer(plain):
            return "start the plain error server" if plain else "start the error server"
        case history.StopErrorServer():
            return "stop the error server"
        case history.StartStandIn():
            return "start the stand-in"
        case history.StopStandIn():
            return "stop the stand-in"
        case history.KeepReport():
            return "keep the report"
        case history.Plan(Alarm.WORKER, after):
            return f"start {worker} in {after:g} s"
        case history.Plan(Alarm.RETRY, after):
            return f"retry in {after:g} s"
        case history.Plan(Alarm.ERROR_SERVER, after):
            return f"start the error server in {after:g} s"
        case history.Plan(Alarm.STAND_IN, after):
            return f"start the stand-in in {after:g} s"
        case history.Plan(alarm):
            return f"set {ALARMS[alarm]}"
        case history.Cancel(alarm):
            return f"drop {ALARMS[alarm]}"
        case history.StopAll():
            return "stop everything"
        case history.KillAll():
            return "kill everything"
        case history.Exit(code):
            return f"exit with {code:d}"
