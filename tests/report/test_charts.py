"""Pictures beside a table: what an entry may be, and what is drawn of it."""

import re

import pytest
from matplotlib.figure import Figure

from arch.report import charts, figures
from arch.report.curves import Curve
from arch.report.learning import LearningCurves
from arch.report.statistics import summary

pytestmark = pytest.mark.usefixtures("pictures")

LENGTHS = {
    "name": "time",
    "title": "time",
    "kind": "lines",
    "series": {"ours": [[2**k, 1.0, 0.0] for k in range(6, 18)]},
    "log": "x",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "'colour' is not known; allowed: name, title, kind, series"),
        ({"kind": "pie"}, "kind='pie'; allowed: lines, bars, map"),
        ({"name": "a/b"}, "name='a/b'; letters, digits"),
        ({"series": {"ours": [[1, 2]]}}, r"time, ours: points are \[x, y, spread\]"),
    ],
)
def test_an_entry_of_another_form_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        charts.Chart.of({**LENGTHS, **change})


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="'series' is missing"):
        charts.Chart.of({field: LENGTHS[field] for field in ("name", "title", "kind")})


def test_points_are_means_with_their_spread_where_there_are_any():
    found = charts.points([(8, summary([1.0, 3.0])), (16, summary([5.0])), (32, summary([]))])
    assert found == [[8, 2.0, pytest.approx(2**0.5)], [16, 5.0, 0.0]]


def drawn(chart):
    return figures.image(charts.Chart.of(chart).picture(), "svg").decode()


def test_equal_charts_are_equal_bytes():
    assert drawn(LENGTHS) == drawn(LENGTHS)


@pytest.mark.parametrize("count, shown", [(3, 3), (8, 8), (12, 6)])
def test_of_many_lengths_every_other_is_written_the_longest_always(count, shown):
    points = LENGTHS["series"]["ours"][-count:]
    svg = drawn({**LENGTHS, "series": {"ours": points}})
    lengths = [str(x) for x, _, _ in points]
    written = [n for n in lengths if re.search(rf"(>|<!-- ){n}(<| -->)", svg)]
    assert len(written) == shown and written[-1] == lengths[-1] == "131072"


@pytest.mark.parametrize("lines, below", [(4, False), (5, True)])
def test_the_legend_of_many_lines_stands_below_them(lines, below):
    series = {f"line {i}": LENGTHS["series"]["ours"] for i in range(lines)}
    figure = Figure(layout="constrained")
    charts._lines(figure, charts.Chart.of({**LENGTHS, "series": series}))
    (axis,) = figure.axes
    (legend,) = figure.legends if below else (axis.get_legend(),)
    assert [text.get_text() for text in legend.get_texts()] == list(series)
    figure.draw_without_rendering()
    assert (legend.get_window_extent().y1 < axis.get_window_extent().y0) == below


@pytest.mark.parametrize("lines", [charts.MANY, charts.MANY + 1, 40])
def test_of_very_many_curves_the_first_is_named_and_the_others_are_grey(lines):
    one = Curve((1, 2), (3.0, 2.0), 10.0, 5, None)
    arms = {f"line {i}": {"train": [one], "valid": [one]} for i in range(lines)}
    figure = Figure(layout="constrained")
    LearningCurves(arms).fill(figure)
    crowded = lines > charts.MANY
    (legend,) = [figure.axes[1].get_legend()] if crowded else figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == (["line 0", f"{lines - 1} others"] if crowded else list(arms))
    for axis in figure.axes:
        assert len(axis.lines) == lines
        greys = [line.get_color() == charts.GREY for line in axis.lines[1:]]
        assert greys == [crowded] * (lines - 1)


def test_a_bar_chart_is_a_chart_with_a_bar_for_each_text():
    entry = charts.bar_chart("steps", "Steps", {"a story": [("John went.", 3), ("Where?", 1)]}, "n")
    chart = charts.Chart.of(entry)
    assert chart.kind == "bars" and not chart.empty
    assert chart.series == {"a story": [["John went.", 3, 0], ["Where?", 1, 0]]}


def test_a_heat_map_has_a_field_for_each_figure_and_none_where_there_is_none():
    series = {
        "one": [("recall", summary([0.25, 0.75])), ("parity", summary([1.0]))],
        "two": [("recall", summary([])), ("parity", summary([0.5]))],
    }
    chart = charts.Chart.of(charts.heat_map("time", "Skills", series, "skill"))
    assert chart.series["two"] == [["parity", 0.5, 0.0]]
    figure = Figure(layout="constrained")
    charts._map(figure, chart)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["0.50", "1.00", "0.50"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["recall", "parity"]
    (image,) = axis.images
    assert image.get_array().mask.tolist() == [[False, False], [True, False]]
    assert "Skills" in drawn({**vars(chart)})


def test_a_curve_of_one_point_is_a_dot():
    once = Curve((5,), (3.0,), 10.0, 5, None)
    figure = Figure(layout="constrained")
    LearningCurves({"a": {"train": [once, once], "valid": [once, once]}}).fill(figure)
    assert {line.get_marker() for axis in figure.axes for line in axis.lines} == {"o"}
