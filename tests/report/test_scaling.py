"""Figures over a number: where two curves meet, and the tables of them."""

import math

import pytest

from arch.report import scaling
from arch.report.statistics import summary


def curve(figures: dict[int, float | None]) -> scaling.Curve:
    return {size: summary([] if y is None else [y]) for size, y in figures.items()}


LINEAR = curve({64: 64.0, 128: 128.0, 256: 256.0, 512: None})
SQUARE = curve({64: 32.0, 128: 128.0, 256: 512.0, 512: 2048.0})


@pytest.mark.parametrize(
    "ours, theirs, said",
    [
        (LINEAR, SQUARE, "256"),  # equal at 128, which is not less
        (SQUARE, LINEAR, "—"),  # less at first, and then more
        (LINEAR, curve({64: 65.0, 128: None, 256: 257.0}), "64"),  # wherever both were measured
        (LINEAR, {}, "—"),
    ],
)
def test_less_from_is_where_it_stays_less(ours, theirs, said):
    assert scaling.less_from(ours, theirs) == said


def test_as_far_is_by_powers_between_what_was_measured():
    """Between 128 and 256 the square grows by the second power."""
    goal = curve({64: 256.0})
    assert scaling.times_as_far(SQUARE, goal, 64) == f"{128 * math.sqrt(2) / 64:.1f}"
    assert scaling.times_as_far(LINEAR, goal, 64) == "4.0"
    assert scaling.times_as_far(LINEAR, curve({64: 257.0}), 64) == "≥ 4"
    assert scaling.times_as_far(LINEAR, curve({64: None}), 64) == "—"
    assert scaling.times_as_far(curve({64: None}), goal, 64) == "—"


def test_a_row_has_means_spreads_and_ratios():
    growth = {64: summary([]), 128: summary([2.0, 2.2, 2.4])}
    section = scaling.section_over(
        "T", "length", (64, 128, 512), {"linear": LINEAR, "square": SQUARE},
        {"square / linear": (SQUARE, LINEAR)}, factor=10.0,
        beside={"growth": {**growth, 512: summary([])}}, note="N",
    )  # fmt: skip
    assert section["columns"] == ["length", "linear", "square", "growth", "square / linear"]
    assert section["rows"] == [
        ["64", "640", "320", "—", "0.5"],
        ["128", "1,280", "1,280", "2.20 ± 0.20", "1"],
        ["512", "—", "20,480", "—", "—"],
    ]
    assert (section["title"], section["note"]) == ("T", "N")


def test_a_row_of_meetings_takes_how_far_from_the_last_pair():
    section = scaling.section_of_meetings(
        "T", "than", {"square": [(SQUARE, LINEAR), (LINEAR, SQUARE)]}, ("a", "b"), {128: "as far"}
    )
    assert section["columns"] == ["than", "a", "b", "as far"]
    assert section["rows"] == [["square", "—", "256", "1.0"]]
