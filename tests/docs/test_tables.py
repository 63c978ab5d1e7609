"""The tables of all pages but docs/policy.md match the code."""

import re

import pytest

from drum_supervisor.config.gunicorn import DECLARATIONS as PARAMETERS
from drum_supervisor.config.settings import DECLARATIONS
from drum_supervisor.contract.exits import ExitCode
from drum_supervisor.contract.failure_report import Cause, FailureReport
from drum_supervisor.contract.status import Status
from drum_supervisor.metrics import catalogue
from drum_supervisor.otel.supervisor_metrics import ATTRIBUTES
from tests.docs import render, render_design

TABLES = {
    ("configuration.md", "options"): render.options,
    ("configuration.md", "profiles"): render.profiles,
    ("configuration.md", "file"): render.file_keys,
    ("configuration.md", "refused"): render.refused_keys,
    ("exit-codes.md", "exit-codes"): render.exit_codes,
    ("exit-codes.md", "causes"): render.causes,
    ("drum-compatibility.md", "differences"): render.differences,
    ("operations.md", "status"): lambda: render.record(Status),
    ("operations.md", "stats"): render.stats,
    ("operations.md", "failure"): lambda: render.record(FailureReport),
    ("metrics.md", "service"): lambda: render.metrics(catalogue.SERVICE),
    ("metrics.md", "processes"): lambda: render.metrics(catalogue.PROCESSES),
    ("metrics.md", "container"): lambda: render.metrics(catalogue.CONTAINER),
    ("metrics.md", "gpus"): lambda: render.metrics(catalogue.GPUS),
    ("design.md", "layers"): render_design.layers,
    ("design.md", "folders"): render_design.folders,
}


@pytest.mark.parametrize(("page", "name"), TABLES)
def test_table_matches_the_code(page, name):
    rendered = TABLES[page, name]()
    if render.UPDATING:
        render.write(page, name, rendered)
    assert render.in_page(page, name) == rendered, "UPDATE_DOCS=1 pytest tests/docs updates it"


@pytest.mark.parametrize("command", ["status", "stats"])
def test_published_schema_matches_the_code(command):
    path, rendered = render.PAGES / f"{command}.schema.json", render.schema(command)
    if render.UPDATING:
        path.write_text(rendered, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == rendered, "UPDATE_DOCS=1 pytest tests/docs updates it"


def test_every_exit_code_and_cause_is_explained():
    assert list(render.CODES) == list(ExitCode)
    assert list(render.CAUSES) == list(Cause)


def test_every_option_has_a_row():
    assert render.options().count("\n") == len(DECLARATIONS) + 1


def test_bars_in_cells_are_escaped():
    assert render.table(["a"], [["x|y"]]).splitlines()[-1] == r"| x\|y |"


def test_every_label_and_attribute_is_explained():
    page = (render.PAGES / "metrics.md").read_text(encoding="utf-8")
    for label, attribute in ATTRIBUTES.items():
        assert re.search(rf"^\| `{label}` \| `{attribute}` \|", page, re.MULTILINE), label


@pytest.mark.parametrize("declared", PARAMETERS.values(), ids=lambda declared: declared.name)
def test_every_gunicorn_parameter_has_range_and_default(declared):
    page = (render.PAGES / "gunicorn.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{declared.name}`")]
    _, names, accepted, default, *_ = (cell.strip() for cell in row.split("|"))
    assert all(f"`{name}`" in names for name in declared.variables)
    assert accepted.startswith(declared.accepted)
    assert default.startswith(declared.default or "unset")
