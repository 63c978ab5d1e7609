"""Sparklines: true to time, scaled from 0 to the highest value, in characters of the terminal."""

import pytest

from drum_supervisor.cli.sparkline import ASCII, BLOCKS, levels_for, sparkline


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([None], ""),
        ([0], "▁"),
        ([5], "█"),
        ([0, 0, 0], "▁▁▁"),
        ([7, 7, 7], "███"),
        ([0, 1, 2, 3, 4, 5, 6, 7], BLOCKS),
        ([7, None, 0], "█▁"),
        ([100, 101], "██"),
    ],
)
def test_scale_is_from_zero_to_the_highest(values, drawn):
    assert sparkline(range(len(values)), values, 40) == drawn


def test_fits_the_width_and_keeps_peaks():
    values = [1] * 600
    values[300] = 8
    drawn = sparkline(range(600), values, 20)
    assert len(drawn) == 20
    assert drawn.count("█") == 1


def test_is_true_to_time():
    # ten points in the first second, two in the next nine
    times = [*(second / 10 for second in range(10)), 5.0, 10.0]
    drawn = sparkline(times, [1] * 10 + [8, 8], 10)
    assert drawn == "▂▂▂▂▂█████"


def test_value_fills_short_gaps_only():
    assert sparkline([0, 50, 100], [4, 4, 4], 3) == "███"
    assert sparkline([0, 1, 2, 3, 1000], [4, 4, 4, 4, 4], 5) == "█   █"


def test_values_at_the_same_time():
    assert sparkline([5.0, 5.0], [1, 2], 9) == "██"


def test_ascii_characters():
    assert sparkline(range(8), range(8), 8, ASCII) == ASCII


@pytest.mark.parametrize(
    ("encoding", "levels"), [("utf-8", BLOCKS), ("ascii", ASCII), ("iso-8859-1", ASCII), (None, ASCII), ("?", ASCII)]
)
def test_characters_depend_on_the_encoding(encoding, levels):
    assert levels_for(encoding) == levels
