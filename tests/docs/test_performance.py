"""Table and drawing of docs/performance.md match the measurements."""

import pytest

from bench.drawing import drawing
from bench.results import markdown
from bench.run import MEASUREMENTS
from tests.docs import render

HOW = "make bench DOCS=1 measures; UPDATE_DOCS=1 pytest tests/docs updates the page"


def test_table_matches_the_measurements():
    rendered = markdown(render.figures())
    if render.UPDATING:
        render.write("performance.md", "performance", rendered)
    assert render.in_page("performance.md", "performance") == rendered, HOW


def test_drawing_matches_the_measurements():
    rendered = drawing(render.figures())
    if render.UPDATING:
        render.DRAWING.write_text(rendered, encoding="utf-8")
    assert render.DRAWING.read_text(encoding="utf-8") == rendered, HOW


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda each: each.NAME)
def test_every_measurement_has_figures_and_an_explanation(measurement):
    measured = {each["figure"] for each in render.figures()["measurements"] if each["measurement"] == measurement.NAME}
    assert measured == {table.figure for table in measurement.TABLES}
    assert f"--only {measurement.NAME}" in (render.PAGES / "performance.md").read_text(encoding="utf-8")
