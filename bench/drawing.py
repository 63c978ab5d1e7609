"""All figures as one SVG: a bar for each median, a whisker from the lowest to the highest value of all rounds.

The bars of a figure share a scale, logarithmic if the peers are far apart. Figures that only we have are not drawn.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any
from xml.sax.saxutils import escape

from bench.harness import OURS
from bench.results import number

WIDTH, LABELS, VALUES = 860, 250, 110
ROW, GAP, TITLE, MARGIN = 18, 16, 22, 14
BARS = WIDTH - LABELS - VALUES - 2 * MARGIN
OURS_COLOUR, FLOOR_COLOUR, OTHERS_COLOUR, WHISKER = "#c2410c", "#9ca3af", "#60a5fa", "#374151"
STYLE = "text{font:12px system-ui,sans-serif;fill:#111827}.t{font-weight:600}.v{fill:#4b5563}"

Scale = Callable[[float], float]


def drawing(found: dict[str, Any]) -> str:
    parts, top = [], float(MARGIN)
    for record in found["measurements"]:
        if len(record["measured"]) > 1:
            parts += block(record, top)
            top += height(record)
    size = f'width="{WIDTH}" height="{top:g}" viewBox="0 0 {WIDTH} {top:g}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>Beside peers</title><style>{STYLE}</style>'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top:g}" fill="#fff"/>', *parts, "</svg>", ""])


def height(record: dict[str, Any]) -> float:
    return float(TITLE + ROW * len(record["measured"]) + GAP)


def block(record: dict[str, Any], top: float) -> Iterator[str]:
    scale = scale_of(record)
    unit = f", {record['unit']}" + (", logarithmic" if record["log"] else "")
    yield _text(MARGIN, top + 12, record["what"] + unit, "t")
    for place, (who, each) in enumerate(record["measured"].items()):
        y = top + TITLE + ROW * place
        length = scale(each["median"])
        colour = OURS_COLOUR if who == OURS else FLOOR_COLOUR if who == record["floor"] else OTHERS_COLOUR
        yield _text(MARGIN, y + 12, who)
        yield f'<rect x="{MARGIN + LABELS}" y="{y + 2}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>'
        begin, end = (MARGIN + LABELS + scale(each[which]) for which in ("lowest", "highest"))
        yield f'<path d="M{begin:.1f} {y + 8}H{end:.1f}" stroke="{WHISKER}"/>'
        yield _text(WIDTH - MARGIN - VALUES + 8, y + 12, f"{number(each['median'])} {record['unit']}", "v")


def scale_of(record: dict[str, Any]) -> Scale:
    """Return a function from value to bar length; the highest value gets the full width."""
    every = [each[which] for each in record["measured"].values() for which in ("lowest", "highest")]
    highest = max(every)
    positive = [value for value in every if value > 0]
    if not positive:
        return lambda value: 0.0
    if not record["log"]:
        return lambda value: max(value, 0.0) / highest * BARS
    lowest = min(positive) / 2  # the shortest bar stays visible
    width = math.log(highest / lowest)
    return lambda value: BARS * math.log(value / lowest) / width if value > 0 else 0.0


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{attribute}>{escape(text)}</text>'
