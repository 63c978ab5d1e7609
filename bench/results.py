"""From rounds to JSON records, and from records to tables."""

import re
import statistics
from collections.abc import Sequence
from typing import Any

from bench.harness import OURS, Column, Goal, Round, Table


def as_json(name: str, table: Table, taken: Sequence[Round], why_not: str) -> dict[str, Any]:
    """Return the record of one figure."""
    column = _column(table.figure, taken)
    measured = {
        who: {
            "median": _rounded(statistics.median(column.all_of(who))),
            "lowest": _rounded(min(column.all_of(who))),
            "highest": _rounded(max(column.all_of(who))),
            "ratio": _ratio_to(table.reference, who, column),
            "values": [_rounded(value) for value in column.values[who]],
        }
        for who in column.values
    }
    return {
        "measurement": name,
        "figure": table.figure,
        "what": table.what,
        "unit": table.unit,
        "floor": table.floor,
        "reference": table.reference,
        "log": table.log,
        "rounds": len(taken),
        "why_not": why_not,
        "measured": measured,
        "goals": [_verdict(goal, column) for goal in table.goals],
    }


def _ratio_to(reference: str, who: str, column: Column) -> float | None:
    return _rounded(column.paired(who, reference, lambda a, b: a / b)) if all(column.all_of(reference)) else None


def _column(figure: str, taken: Sequence[Round]) -> Column:
    names = dict.fromkeys(who for each in taken for who, values in each.items() if figure in values)
    return Column({who: tuple(each.get(who, {}).get(figure) for each in taken) for who in names})


def _verdict(goal: Goal, column: Column) -> dict[str, Any]:
    value = goal.found(column)
    if value is None:
        return {"words": VALUE.sub("?", goal.words), "value": None, "met": None}
    return {"words": goal.words.format(value), "value": _rounded(value), "met": goal.is_met(value)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
VALUE = re.compile(r"\{[^}]*\}")


def rows(record: dict[str, Any]) -> list[list[str]]:
    """Return a row per candidate: median, range, ratio."""
    return [
        [who, number(each["median"]), f"{number(each['lowest'])}-{number(each['highest'])}", _ratio(each["ratio"])]
        for who, each in record["measured"].items()
    ]


def terminal(found: dict[str, Any]) -> str:
    lines = [described(found)]
    for record in found["measurements"]:
        lines += ["", f"{record['what']}, {record['unit']} (medians of {record['rounds']})"]
        if record["why_not"]:
            lines.append(f"  not measured: {record['why_not']}")
        cells = rows(record)
        widths = [max(len(row[place]) for row in cells) for place in range(4)] if cells else []
        lines += [
            f"  {row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}"
            for row in cells
        ]
        lines += [f"  {VERDICTS[goal['met']]}: {goal['words']}" for goal in record["goals"]]
    return "\n".join(lines)


def markdown(found: dict[str, Any]) -> str:
    """Return one Markdown table: a row per figure, with its goals."""
    lines = ["| what, medians | drum-supervise | floor | beside | goals |", "|---|---:|---:|---|---|"]
    for record in found["measurements"]:
        medians = {who: number(each["median"]) for who, each in record["measured"].items()}
        floor = medians.pop(record["floor"], None)
        ours = medians.pop(OURS, "-" if medians else f"not measured: {record['why_not']}")
        beside = ", ".join(f"{who} {median}" for who, median in medians.items())
        goals = "<br>".join(f"{VERDICTS[goal['met']]}: {goal['words']}" for goal in record["goals"])
        what = f"{record['what']}, {record['unit']}"
        cells = [what, ours, f"{floor} ({record['floor']})" if floor else "-", beside or "-", goals or "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"{line}." for line in described(found).splitlines())])


def described(found: dict[str, Any]) -> str:
    """Return the machine and the versions in a few lines."""
    machine = found["machine"]
    facts = f"{machine['processors']} x {machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}"
    programs = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    loads = f"{min(found['load'])} to {max(found['load'])}"
    lines = [f"{facts}, Linux {machine['kernel']}, {machine['python']}", programs]
    if found["not_here"]:
        lines.append("Not here: " + ", ".join(f"{who} ({why})" for who, why in found["not_here"].items()))
    return "\n".join([*lines, f"Load {loads}; {machine['taken_at']}"])


def number(value: float) -> str:
    """Format a value: three digits, or all before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} x"
