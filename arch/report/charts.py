"""Pictures that an experiment asks for beside its table: lines over a number, or bars.

TABLE["charts"] lists them, each a dictionary of these fields; `line_chart` makes one:

name        of the files, <name>.svg and .png        title, x_label, y_label
kind        lines: series is {label: [[x, mean, spread], …]}, drawn with bars of one spread
            map:   series is {row: [[column, value, spread], …]}, a coloured field each, from 0 to 1
            bars:  series is {label: [[text, value, 0], …]}, one horizontal bar per text, top first
log         axes with a logarithmic scale: '' | 'x' | 'y' | 'xy'
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from arch.report.figures import STYLE
from arch.report.statistics import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("lines", "bars", "map")
# Okabe and Ito's palette, which colour-blind readers tell apart, and markers for those who print
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
GREY = "#A0A0A0"
MARKERS = "osD^vPX"
DASHES = ("-", "--", ":", "-.")  # of lines without markers, beyond as many as there are colours
LABELS = 56  # letters that stand beside each other below the axis
MANY = (
    14  # lines of which each has a colour, a dash and a name; of more, all but the first are grey
)
FEW = 4  # lines that leave room for a legend among them; that of more stands below


@dataclass(frozen=True)
class Chart:
    """An entry of TABLE["charts"], made and checked by `Chart.of`; its fields are above."""

    name: str
    title: str
    kind: str
    series: Mapping[str, Sequence[Sequence[Any]]]
    x_label: str = ""
    y_label: str = ""
    log: str = ""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Chart":
        """Raises ValueError for a field that is missing, not known, or of another form."""
        unknown = sorted(set(entry) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(
                f"table.charts: {unknown[0]!r} is not known; allowed: "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        missing = sorted({"name", "title", "kind", "series"} - set(entry))
        if missing:
            raise ValueError(f"table.charts: {missing[0]!r} is missing")
        chart = cls(**entry)
        if chart.kind not in KINDS:
            raise ValueError(f"table.charts: kind={chart.kind!r}; allowed: {', '.join(KINDS)}")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", chart.name):
            raise ValueError(f"table.charts: name={chart.name!r}; letters, digits, _ and - only")
        for label, points in chart.series.items():
            if any(len(point) != 3 for point in points):
                raise ValueError(f"table.charts: {chart.name}, {label}: points are [x, y, spread]")
        return chart

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(self.series.values())

    def picture(self) -> "Figure":
        """The chart as a matplotlib Figure; equal charts are equal bytes."""
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        bars = self.kind == "bars"
        draw = {"lines": _lines, "bars": _bars, "map": _map}[self.kind]
        rows = max(len(points) for points in self.series.values())
        size = (3.6 * len(self.series), 0.9 + 0.19 * rows) if bars else (4.6, 3.2)
        if self.kind == "map":
            size = (1.4 + 0.5 * rows, 1.4 + 0.26 * len(self.series))
        with rc_context(STYLE):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure, self)
        return figure


def points(found: Iterable[tuple[Any, Summary]]) -> list[list[Any]]:
    """[x, mean, SD] of each x, a number or a text, that has values; the SD of a single value is
    0."""
    return [[x, s.mean, s.sd if s.n > 1 else 0.0] for x, s in found if s.n]


def line_chart(
    name: str,
    title: str,
    series: Mapping[str, Iterable[tuple[float, Summary]]],
    x_label: str,
    y_label: str,
    log: str = "",
) -> dict[str, Any]:
    """An entry of TABLE["charts"]: one line per label through the means over x, with their SD.

    Takes label → (x, summary) pairs; an x without values is left out. log: '' | 'x' | 'y' | 'xy'.
    """
    return {
        "name": name,
        "title": title,
        "kind": "lines",
        "series": {label: points(found) for label, found in series.items()},
        "x_label": x_label,
        "y_label": y_label,
        "log": log,
    }


def heat_map(
    name: str, title: str, series: Mapping[str, Iterable[tuple[str, Summary]]], x_label: str
) -> dict[str, Any]:
    """An entry of TABLE["charts"]: row → (column, summary) pairs of figures from 0 to 1; a field
    without values stays white."""
    rows = {label: points(found) for label, found in series.items()}
    return {"name": name, "title": title, "kind": "map", "series": rows, "x_label": x_label}


def bar_chart(
    name: str, title: str, series: Mapping[str, Iterable[tuple[str, float]]], x_label: str
) -> dict[str, Any]:
    """An entry of TABLE["charts"]: label → (text, value) pairs, a horizontal bar for each."""
    bars = {label: [[text, value, 0] for text, value in found] for label, found in series.items()}
    return {"name": name, "title": title, "kind": "bars", "series": bars, "x_label": x_label}


def _lines(figure: "Figure", chart: Chart) -> None:
    axis = figure.subplots()
    for i, (label, points) in enumerate(chart.series.items()):
        if not points:
            continue
        x, y, spread = zip(*points, strict=True)
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axis.errorbar(
            x, y, yerr=spread, label=label, ms=3.5, lw=1.1, capsize=2, color=colour, marker=marker
        )
    axis.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    ticks = sorted({point[0] for points in chart.series.values() for point in points})
    if "x" in chart.log:
        axis.set_xscale("log")
        labels = [f"{tick:g}" for tick in ticks]
        if len(" ".join(labels)) > LABELS:
            labels[-2::-2] = [""] * (len(labels) // 2)
        axis.set_xticks(ticks, labels)
        axis.minorticks_off()
    if "y" in chart.log:
        axis.set_yscale("log")
    _legend(figure, axis, len(axis.containers))


def _legend(figure: "Figure", axis: "Axes", lines: int) -> None:
    if lines <= FEW:
        axis.legend(frameon=False)
    else:
        figure.legend(loc="outside lower left", ncols=2, frameon=False)


def _bars(figure: "Figure", chart: Chart) -> None:
    axes = figure.subplots(1, len(chart.series), squeeze=False)[0]
    longest = max(point[1] for points in chart.series.values() for point in points)
    for axis, (label, points) in zip(axes, chart.series.items(), strict=True):
        places = range(len(points))
        axis.barh(places, [point[1] for point in points], color=COLOURS[0], height=0.7)
        axis.set_yticks(places, [str(point[0]) for point in points])
        axis.invert_yaxis()
        axis.set_xlim(0, longest * 1.05)
        axis.set(title=label, xlabel=chart.x_label, ylabel=chart.y_label)
    figure.suptitle(chart.title, x=0.01, ha="left", fontsize=8)


def _map(figure: "Figure", chart: Chart) -> None:
    axis = figure.subplots()
    columns = list(dict.fromkeys(point[0] for row in chart.series.values() for point in row))
    values = np.full((len(chart.series), len(columns)), np.nan)
    for i, row in enumerate(chart.series.values()):
        for column, value, _ in row:
            j = columns.index(column)
            values[i, j] = value
            ink = "black" if value > 0.6 else "white"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=6.5)
    axis.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(chart.series)), list(chart.series))
    axis.set(title=chart.title, xlabel=chart.x_label)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
