"""Tables of the documentation, rendered from the code; each stands in its page between two markers.

Those of docs/policy.md are in render_policy.py.

`UPDATE_DOCS=1 pytest tests/docs` writes the pages anew.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from drum_supervisor.config.declaration import Declaration
from drum_supervisor.config.profiles import PROFILES
from drum_supervisor.config.settings import DECLARATIONS
from drum_supervisor.contract.exits import ExitCode, of_signal
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.metrics.catalogue import Kind, Metric
from drum_supervisor.supervise.programs import supervisord_keys
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
    assert SECTIONS.keys() == supervisord_keys.ALLOWED.keys()
    rows = [
        [f"`{heading}`", meaning, ", ".join(f"`{key}`" for key in sorted(supervisord_keys.ALLOWED[kind]))]
        for kind, (heading, meaning) in SECTIONS.items()
    ]
    return table(["section", "what for", "keys"], [*rows, ["`[include]`", "more files, by pattern", "`files`"]])


def _told_of_the_model_server(kind: str) -> set[tuple[str, str]]:
    return set(supervisord_keys.REFUSED["program:model-server"].items()) if kind == "program:error-server" else set()


def refused_keys() -> str:
    """Return what is refused, and why; keys with the same reason together."""
    rows = [
        [f"`[{kind}{'' if '_' in kind else ':NAME'}]`", reason]
        for kind, reason in supervisord_keys.REFUSED_SECTIONS.items()
    ]
    for kind, refused in supervisord_keys.REFUSED.items():
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
    sent = f"`{metric.instrument.name}`, {metric.instrument.unit}" if metric.instrument else "-"
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
