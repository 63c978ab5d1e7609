"""How the benchmarks evaluate and print their measurements; nothing is measured here."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from bench.clients import load_from
from bench.drawing import BARS, drawing, scale_of
from bench.harness import OURS, Column, Table, above, at_most, beats, percentile, plus, taking_turns, within
from bench.results import as_json, markdown, number, terminal

ROUNDS = [
    {OURS: {"start": 10.0}, "slow": {"start": 40.0}, "floor": {"start": 8.0}},
    {OURS: {"start": 30.0}, "slow": {"start": 60.0}, "floor": {"start": 20.0}},
    {OURS: {"start": 20.0}, "floor": {"start": 10.0}},
]
COLUMN = Column({OURS: (10.0, 30.0, 20.0), "slow": (40.0, 60.0, None), "floor": (8.0, 20.0, 10.0)})
GOALS = (within("floor", 1.3), beats("slow", 2.5), beats("missing"))
TABLE = Table("start", "From <exec> to it", "ms", GOALS, floor="floor")


def found(*records: dict[str, Any], **more: object) -> dict[str, Any]:
    machine = {"processors": 2, "processor": "P", "memory_gib": 1, "system": "S", "kernel": "6", "python": "CPython 3"}
    described = {"machine": {**machine, "taken_at": "now"}, "versions": {"circus": "1"}, "load": [0.5, 0.1]}
    return {**described, "not_here": {}, "measurements": list(records), **more}


class TestColumn:
    def test_median_skips_rounds_without_a_value(self):
        assert [COLUMN.median(who) for who in (OURS, "slow", "missing")] == [20.0, 50.0, None]

    def test_ratio_is_the_median_of_ratios_per_round(self):
        assert COLUMN.paired(OURS, "floor", lambda a, b: a / b) == 1.5
        assert COLUMN.paired("slow", OURS, lambda a, b: a / b) == 3.0
        assert COLUMN.paired(OURS, "missing", lambda a, b: a / b) is None


class TestGoal:
    @pytest.mark.parametrize(
        ("goal", "value", "met"),
        [
            (within("floor", 1.5), 1.5, True),
            (within("floor", 1.3), 1.5, False),
            (above("floor", 1.6), 1.5, False),
            (beats("slow", 3), 3.0, True),
            (plus("floor", 10, "ms"), 10.0, True),
            (plus("floor", 9, "ms"), 10.0, False),
            (at_most(20, "ms"), 20.0, True),
            (at_most(20, "ms", max), 30.0, False),
        ],
    )
    def test_is_met_up_to_its_limit(self, goal, value, met):
        assert goal.found(COLUMN) == value
        assert goal.is_met(value) is met

    def test_of_a_missing_peer_has_no_value(self):
        assert beats("missing").found(COLUMN) is None
        assert at_most(1, "ms", name="missing").found(COLUMN) is None

    @pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (100, 100)])
    def test_percentile_is_a_measured_value(self, percent, value):
        assert percentile([float(each) for each in range(100, 0, -1)], percent) == value
        assert percentile([7.0], percent) == 7.0


def test_cases_take_turns_in_rotating_order():
    order: list[str] = []

    def case(name: str) -> Any:
        return lambda: order.append(name) or {"x": 1.0}

    rounds = taking_turns({"a": case("a"), "b": case("b")})
    assert [next(rounds) for _ in range(2)] == [{"a": {"x": 1.0}, "b": {"x": 1.0}}] * 2
    assert order == ["a", "b", "b", "a"]


class TestRecord:
    record = as_json("lives", TABLE, ROUNDS, "")

    def test_has_median_range_and_ratio_of_each_peer(self):
        assert self.record["measured"][OURS] == {
            "median": 20.0,
            "lowest": 10.0,
            "highest": 30.0,
            "ratio": 1.0,
            "values": [10.0, 30.0, 20.0],
        }
        assert self.record["measured"]["slow"]["ratio"] == 3.0
        assert self.record["rounds"] == 3

    def test_says_whether_each_goal_is_met(self):
        assert [goal["met"] for goal in self.record["goals"]] == [False, True, None]
        assert self.record["goals"][2]["words"] == "? x faster than missing, at least 1"

    def test_has_no_ratio_to_zero(self):
        record = as_json("x", Table("n", "Zombies", "", log=False), [{OURS: {"n": 0.0}, "other": {"n": 1.0}}], "")
        assert record["measured"]["other"]["ratio"] is None

    def test_says_why_nothing_was_measured(self):
        record = as_json("x", TABLE, [], "wrk is not installed")
        assert "not measured: wrk is not installed" in terminal(found(record))
        assert "not measured: wrk is not installed" in markdown(found(record))

    def test_is_a_table_row_with_all_peers_and_goals(self):
        row = markdown(found(self.record)).splitlines()[2]
        assert row == (
            "| From <exec> to it, ms | 20 | 10 (floor) | slow 50 | MISSED: 1.50 x floor, at most 1.3"
            "<br>met: 3.0 x faster than slow, at least 2.5<br>not measured: ? x faster than missing, at least 1 |"
        )

    def test_is_printed_in_the_terminal_with_ranges(self):
        lines = [" ".join(line.split()) for line in terminal(found(self.record)).splitlines()]
        assert "slow 50 40-60 3 x" in lines
        assert "MISSED: 1.50 x floor, at most 1.3" in lines

    def test_missing_peers_are_named(self):
        assert "Not here: s6 (s6-svscan is not installed)" in terminal(
            found(not_here={"s6": "s6-svscan is not installed"})
        )


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (9.876, "9.88"), (99.96, "100"), (12345.6, "12,346")]
)
def test_numbers_have_three_significant_digits(value, text):
    assert number(value) == text


class TestDrawing:
    record = as_json("lives", TABLE, ROUNDS, "")

    def test_is_well_formed_and_has_a_bar_for_each_peer(self):
        root = ET.fromstring(drawing(found(self.record)))
        names = {"svg": "http://www.w3.org/2000/svg"}
        texts = [each.text for each in root.findall("svg:text", names)]
        assert texts[0] == "From <exec> to it, ms, logarithmic"
        assert {OURS, "slow", "floor", "20 ms", "50 ms"} <= set(texts)
        assert len(root.findall("svg:rect", names)) == 1 + 3

    def test_scale_grows_and_ends_at_the_whole_width(self):
        for log in (True, False):
            scale = scale_of({**self.record, "log": log})
            assert 0 < scale(8.0) < scale(20.0) < scale(60.0) == pytest.approx(BARS)

    def test_zero_has_no_length(self):
        record = as_json("x", Table("n", "Zombies", ""), [{OURS: {"n": 0.0}, "other": {"n": 0.0}}], "")
        assert scale_of(record)(0.0) == 0.0

    def test_measurement_without_peers_is_not_drawn(self):
        alone = as_json("x", Table("n", "Only ours", ""), [{OURS: {"n": 1.0}}], "")
        assert "Only ours" not in drawing(found(alone, self.record))


WRK = """Running 5s test @ http://127.0.0.1:1/
  Latency Distribution
     50%  850.00us
     99%    1.20s
  12345 requests in 5.00s, 1.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
Requests/sec:   2469.00
"""


def test_wrk_output_is_parsed():
    load = load_from(WRK)
    assert (load.requests, load.per_second, load.p50, load.p99, load.failed) == (12345, 2469.0, 0.85, 1200.0, 15)


def test_wrk_error_is_no_measurement():
    with pytest.raises(TimeoutError, match="unable to connect"):
        load_from("unable to connect to 127.0.0.1:1 Connection refused")
