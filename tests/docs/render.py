"""Tables of the documentation, rendered from the code. Each stands in its page between two markers.

render_policy.py has those of docs/policy.md. `UPDATE_DOCS=1 pytest tests/docs` updates the pages.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from drum_supervisor.cli.main import cli
from drum_supervisor.cli.stats_tables import SampledGpus
from drum_supervisor.config.declaration import Declaration
from drum_supervisor.config.profiles import PROFILES
from drum_supervisor.config.settings import DECLARATIONS
from drum_supervisor.contract.exits import ExitCode, signal_exit_code
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.json_records import description, records_in, typed_fields
from drum_supervisor.contract.usage_series import UsageSeries
from drum_supervisor.metrics.catalogue import Kind, Metric
from drum_supervisor.resources.cgroup import Cgroup
from drum_supervisor.resources.gpu_usage import Gpu
from drum_supervisor.resources.process_reader import ProcessResources
from drum_supervisor.resources.stats import FullStats
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
    """Return the text between the markers of table `name` in a page."""
    return _split(page, name)[1]


def write(page: str, name: str, content: str) -> None:
    """Replace the text between the markers of table `name` in a page."""
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
    names = list(dict.fromkeys(name for values in PROFILES.values() for name in values))
    rows = [[f"`{DECLARATIONS[name].option}`", *(_value(profile, name) for profile in PROFILES)] for name in names]
    return table(["", *(f"`{profile}`" for profile in PROFILES)], rows)


def _value(profile: str, name: str) -> str:
    text = PROFILES[profile].get(name, DECLARATIONS[name].default)
    return f"`{text}`" if text else "-"


# --- the configuration file

SECTIONS = {
    "supervisord": ("[supervisord]", "all programs, including ours"),
    "program:model-server": ("[program:model-server]", "how each worker runs; its command comes from the command line"),
    "program:error-server": ("[program:error-server]", "how the error server runs"),
    "program": ("[program:NAME]", "an extra program; `essential` is our key, all others are supervisord's"),
    "group": ("[group:NAME]", "extra programs as one group"),
    "eventlistener": ("[eventlistener:NAME]", "a program that receives events"),
    "inet_http_server": ("[inet_http_server]", "supervisord's TCP interface, only with this section"),
}


def file_keys() -> str:
    """Return the keys that each section may have."""
    assert SECTIONS.keys() == supervisord_keys.ALLOWED.keys()
    rows = [
        [f"`{heading}`", meaning, ", ".join(f"`{key}`" for key in sorted(supervisord_keys.ALLOWED[kind]))]
        for kind, (heading, meaning) in SECTIONS.items()
    ]
    return table(["section", "configures", "keys"], [*rows, ["`[include]`", "more files, by pattern", "`files`"]])


def _refused_for_the_model_server_too(kind: str) -> set[tuple[str, str]]:
    return set(supervisord_keys.REFUSED["program:model-server"].items()) if kind == "program:error-server" else set()


def refused_keys() -> str:
    """Return refused sections and keys with the reasons; keys with the same reason share a row."""
    rows = [
        [f"`[{kind}{'' if '_' in kind else ':NAME'}]`", reason]
        for kind, reason in supervisord_keys.REFUSED_SECTIONS.items()
    ]
    for kind, refused in supervisord_keys.REFUSED.items():
        by_reason: dict[str, list[str]] = {}
        repeated = _refused_for_the_model_server_too(kind)
        for key, reason in refused.items():
            if (key, reason) in repeated:
                continue
            by_reason.setdefault(reason, []).append(f"`{key}`")
        heading = SECTIONS[kind][0]
        rows += [[f"`{heading}`: {', '.join(keys)}", reason] for reason, keys in by_reason.items()]
    return table(["refused", "because"], rows)


# --- records


ELSEWHERE = (Cgroup, FailureReport, ProcessResources, UsageSeries)
"""Records that have a table or a paragraph of their own."""


def record(kind: Any) -> str:
    """Return the fields of a record, and those of the records in it."""
    return table(["field", "meaning"], _fields(kind, "`{}`"))


def _fields(kind: Any, form: str) -> Iterator[list[str]]:
    for field, declared in typed_fields(kind):
        yield [form.format(field.name), description(declared)]
        nested = next(records_in(declared), None)
        if nested not in (None, *ELSEWHERE):
            yield from _fields(nested, f"- {form}")


def stats() -> str:
    """Return the fields of `stats --json`, those of the GPUs too."""
    gpus = [["`gpus`", description(SampledGpus)], *_fields(Gpu, "- `{}`")]
    return table(["field", "meaning"], [*_fields(FullStats, "`{}`"), *gpus])


def schema(command: str) -> str:
    """Return the JSON Schema that a command prints."""
    return CliRunner().invoke(cli, [command, "--json-schema"], catch_exceptions=False).stdout


# --- exit codes

CODES = {
    ExitCode.STOPPED: "stopped on request: a signal, or `drum-supervise stop`",
    ExitCode.USAGE: "bad usage or configuration: an option, a variable, the configuration file, the run directory",
    ExitCode.INIT_FAILED: "initialization failed",
    ExitCode.STARTUP_TIMEOUT: "not ready within `--startup-timeout`",
    ExitCode.KEPT_DYING: "kept crashing after it had been ready (`--max-restarts` within `--restart-window`)",
    ExitCode.ADDRESS: "the address could not be bound: in use, not permitted, or not an address of this machine",
    ExitCode.INTERNAL: "internal error: a bug in drum_supervisor, with a traceback on stderr",
}


def exit_codes() -> str:
    rows = [[f"{code.value}", CODES[code]] for code in ExitCode]
    rows.append(
        [
            f"{signal_exit_code(0)} + n",
            "signal n killed the model server, and it was not restarted: 137 is SIGKILL, 139 SIGSEGV",
        ]
    )
    return table(["exit code", "meaning"], rows)


CAUSES = {
    Cause.INIT_FAILED: "it reported a failure, or exited before it was ready",
    Cause.STARTUP_TIMEOUT: "it was not ready in time",
    Cause.KEPT_DYING: "after ready it died or failed its liveness probes more often than `--max-restarts` allows",
    Cause.DIED: "after ready it died or failed its liveness probes, and `--max-restarts 0` allows no restart",
}


def causes() -> str:
    rows = []
    for cause in Cause:
        ended, killed = (FailureReport(cause, "", signal=signal).exit_code for signal in (None, 9))
        rows.append([f"`{cause.value}`", CAUSES[cause], f"{ended:d}", f"{killed:d}"])
    return table(["cause", "what happened", "exit code", "if killed by SIGKILL"], rows)


# --- metrics


def metrics(declared: Iterable[Metric]) -> str:
    """Return metrics with their names in Prometheus and OTLP."""
    return table(["Prometheus", "labels", "OTLP", "meaning"], [_metric(each) for each in declared])


def _metric(metric: Metric) -> list[str]:
    kind = "" if metric.kind is Kind.INFO else f", {metric.kind.value}"
    sent = f"`{metric.instrument.name}`, {metric.instrument.unit}" if metric.instrument else "-"
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return [f"`{metric.name}`{kind}" if metric.name else "-", labels, sent, metric.help]


# --- measurements beside peers

FIGURES = PAGES / "performance.json"
DRAWING = PAGES / "performance.svg"


def figures() -> Any:
    """Return the latest measurements for the documentation, those of `make bench DOCS=1`."""
    return json.loads(FIGURES.read_text(encoding="utf-8"))


# --- differences from DRUM


def differences() -> str:
    """Return the intended differences from DRUM, one table per topic."""
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
    """Return requests and models unless all are meant, and the part of the answer unless it is the first line."""
    requests = ", ".join(f"“{name.replace('*', '…')}”" for name in declared.requests if name != "*")
    models = ", ".join(f"`{name}`" for name in declared.models if name != "*")
    part = "" if declared.kind == "answer" else declared.kind.replace("header x*", "headers")
    return "; ".join(filter(None, [part, requests, models and f"models {models}"])) or "everywhere"
