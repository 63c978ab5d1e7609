"""The live view, drawn on a terminal in memory."""

import io

import pytest
from rich.console import Console

from drum_supervisor.cli.live import LiveView
from drum_supervisor.cli.stats_tables import Sampled
from tests.unit.stats_records import PROCESS, PROGRAM, STOPPED, stats


def draw(width, height, **changes):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    view = LiveView(console)
    with console.capture() as capture:
        console.print(view._render(Sampled(stats(**changes))))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_shows_programs_processes_and_curves():
    lines = draw(80, 24)
    assert "model-server  ready  4711  1 min 1 s  12.5 %  150.0 MiB     10" in lines
    assert "4711  sleeping  12.5 %  150.0 MiB        8  python3 -m server" in lines
    assert "Memory  ▁▅█" in lines


@pytest.mark.parametrize("width", [60, 80, 200])
def test_fits_the_terminal(width):
    processes = [{**PROCESS, "pid": number, "command_line": ["x" * 300]} for number in range(4_000_000, 4_001_000)]
    lines = draw(width, 24, programs=[{**PROGRAM, "name": "model-server-199", "processes": processes}, STOPPED])
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert any(line.endswith("more") for line in lines)


def test_program_names_are_not_markup():
    assert any("[bold]" in line for line in draw(80, 24, programs=[{**PROGRAM, "name": "[bold]x[/]"}]))


def test_last_view_stays_and_the_cursor_returns():
    output = io.StringIO()
    console = Console(file=output, width=80, height=24, force_terminal=True, color_system=None)
    with LiveView(console) as view:
        view.show(Sampled(stats(phase="starting")))
        view.show(Sampled(stats(phase="serving")))
    assert output.getvalue().rindex("serving") > output.getvalue().rindex("starting")
    assert output.getvalue().rindex("\x1b[?25h") > output.getvalue().rindex("\x1b[?25l")
