"""The live view of `stats --watch` in a terminal, drawn with rich. Only that command loads this module."""

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from drum_supervisor.cli.stats_tables import Row, Sampled, history_rows, process_rows, program_rows, summary_rows

_STYLES = {"serving": "green", "ready": "green", "failed": "bold red", "starting": "yellow", "retrying": "yellow"}
_RIGHT_ALIGNED = {"CPU", "MEMORY", "RSS", "FILES", "THREADS", "PID"}
_MIN_PROCESSES = 3
_OTHER_LINES = 6  # empty lines, headings, "and 5 more", and the line of the cursor


class LiveView:
    """Redraws the statistics in place; the last view stays on the screen."""

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

    def show(self, sampled: Sampled) -> None:
        self._live.update(self._render(sampled), refresh=True)

    def _render(self, sampled: Sampled) -> RenderableType:
        stats = sampled.stats
        width, height = self._console.size
        summary, programs = list(summary_rows(sampled)), list(program_rows(stats))
        curves = list(history_rows(stats, self._console.encoding, width))
        lines_left = height - (len(summary) + len(programs) + len(curves) + _OTHER_LINES)
        processes = list(process_rows(stats, max(lines_left, _MIN_PROCESSES)))
        return Group(
            _pairs(summary),
            Text(),
            _table(programs, width),
            Text(),
            _table(processes, width),
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
    """Return a table with headings; its last column gets what the others leave of `width`."""
    headings, *rest = rows
    table = Table.grid(padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(justify="right" if heading in _RIGHT_ALIGNED else "left", no_wrap=True)
    table.add_row(*(Text(heading, "bold") for heading in headings))
    taken = sum(max(map(len, column)) + 2 for column in list(zip(*rows, strict=True))[:-1])
    for *cells, last in rest:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in (*cells, last[: max(width - taken, 1)])))
    return table
