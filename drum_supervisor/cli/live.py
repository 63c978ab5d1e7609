"""The live view of `stats --watch` in a terminal, drawn with rich. Only the command itself loads this."""

from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from drum_supervisor.cli.sparkline import levels_for
from drum_supervisor.cli.stats_tables import Row, facts, history_rows, process_rows, program_rows

_STYLES = {"serving": "green", "ready": "green", "failed": "bold red", "starting": "yellow", "retrying": "yellow"}
_AT_THE_RIGHT = {"CPU", "MEMORY", "RSS", "FILES", "THREADS", "PID"}
_FEWEST_PROCESSES = 3


class LiveView:
    """Draws the figures anew in place; what was drawn last stays on the screen."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, stats: dict[str, Any]) -> None:
        """Draw one look."""
        self._live.update(self._view(stats), refresh=True)

    def _view(self, stats: dict[str, Any]) -> RenderableType:
        width, height = self._console.size
        about, programs = list(facts(stats)), list(program_rows(stats))
        curves = list(history_rows(stats, levels_for(self._console.encoding), width))
        others = len(about) + len(programs) + len(curves) + 6  # empty lines, headings, "and 5 more", the cursor's
        room = max(height - others, _FEWEST_PROCESSES)
        return Group(
            _pairs(about),
            Text(),
            _table(programs, width),
            Text(),
            _table(list(process_rows(stats, room)), width),
            Text(),
            _pairs(curves, "cyan"),
        )


def _pairs(rows: list[Row], style: str = "") -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in rows:
        table.add_row(Text(name), Text(value, _STYLES.get(value, style)))
    return table


def _table(rows: list[Row], width: int) -> Table:
    """Return a table with headings; its last column has what the others leave of `width`."""
    headings, *rest = rows
    table = Table.grid(padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(justify="right" if heading in _AT_THE_RIGHT else "left", no_wrap=True)
    table.add_row(*(Text(heading, "bold") for heading in headings))
    taken = sum(max(map(len, column)) + 2 for column in list(zip(*rows, strict=True))[:-1])
    for *cells, last in rest:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in (*cells, last[: max(width - taken, 1)])))
    return table
