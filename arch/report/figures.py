"""The figure of an experiment, drawn with matplotlib. Drawing it again gives the same bytes.

matplotlib is imported where it draws: it takes longer to import than most commands take to answer.
"""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from arch.report.panels import FigurePlan, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOST = "#C4161C"
LEGEND_WIDTH = 50  # characters of two columns that fit a panel
TITLE_WIDTH = 46  # characters of a line that does
LOG_RATIO = 10  # a metric that spans more than this gets a logarithmic axis

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "svg.hashsalt": "arch",
    "svg.fonttype": "path",
}


def draw(plan: FigurePlan) -> "Figure":
    """The matplotlib Figure, sized for a paper's two columns; no pyplot, so no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    count, cells = len(plan.panels), len(plan.places)
    height = 2.9 if plan.curve else 1.35 + 0.17 * max(cells, 4)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(3.4 * count, 4.2), height), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False, sharey=not plan.curve)[0]
        for axis, panel in zip(axes, plan.panels, strict=True):
            _draw_panel(axis, panel, plan)
            _name_places(axis, plan)
    return figure


def _draw_panel(axis: "Axes", panel: Panel, plan: FigurePlan) -> None:
    if panel.band:
        _draw_band(axis, panel, plan.curve)
    _draw_marks(axis, panel, plan)
    raised = _note_lost(axis, panel, plan.curve) and plan.curve
    values = [v for m in panel.marks for v in (m.mean, *m.values.values()) if v == v]
    if values and 0 < LOG_RATIO * min(values) < max(values):
        _logarithmic(axis, "y" if plan.curve else "x")
    (axis.set_ylabel if plan.curve else axis.set_xlabel)(panel.label)
    axis.grid(axis="y" if plan.curve else "x", lw=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
    _draw_legend(axis, panel, raised)


def _draw_band(axis: "Axes", panel: Panel, curve: bool) -> None:
    """The baseline's line and band, across the panel."""
    band, colour = panel.band, panel.colour
    assert band is not None
    line, span = (axis.axhline, axis.axhspan) if curve else (axis.axvline, axis.axvspan)
    line(band.mean, color=colour, lw=0.9, ls=(0, (4, 2)), label=band.label)
    if band.low == band.low:
        span(band.low, band.high, color=colour, alpha=0.12, lw=0)


def _draw_marks(axis: "Axes", panel: Panel, plan: FigurePlan) -> None:
    """Seeds as dots, means with their intervals, a line through those that have an x."""
    curve, colour = plan.curve, panel.colour

    def turned(places: Sequence[float], values: Sequence[float]) -> tuple:
        return (places, values) if curve else (values, places)

    seeds = [(m.place, v) for m in panel.marks if len(m.values) > 1 for v in m.values.values()]
    if seeds:
        places, values = zip(*seeds, strict=True)
        dot: dict[str, Any] = {"ms": 3.2, "mfc": colour, "mec": "none", "alpha": 0.38}
        axis.plot(*turned(places, values), "o", **dot, label="one seed", zorder=2)
    shown, joined = plan.means(panel)
    if joined:
        line = turned([m.place for m in joined], [m.mean for m in joined])
        axis.plot(*line, "-", color=colour, lw=1.0, zorder=3)
    ends: Any = [[m.mean - m.low for m in shown], [m.high - m.mean for m in shown]]
    axis.errorbar(
        *turned([m.place for m in shown], [m.mean for m in shown]),
        fmt="o",
        ms=4,
        **{"yerr" if curve else "xerr": ends},
        color=colour,
        mfc="white",
        mew=1.1,
        elinewidth=0.9,
        capsize=1.8,
        label=panel.legend,
        zorder=4,
    )


def _draw_legend(axis: "Axes", panel: Panel, raised: bool) -> None:
    """The legend above the frame, the title above it; `raised`: both above counts of losses."""
    columns = _legend_columns(axis.get_legend_handles_labels()[1])
    legend = axis.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.05 if raised else 1.01),
        ncols=columns,
        frameon=False,
        borderpad=0.2,
        borderaxespad=0,
        handlelength=1.6,
        columnspacing=1.0,
    )
    legend.set_in_layout(False)  # the title's padding makes its room; its width must not count
    rows = -(-len(legend.get_texts()) // columns)
    padding = 5 + 10.5 * rows + 8 * raised
    axis.set_title(textwrap.fill(panel.title, TITLE_WIDTH), color=panel.colour, pad=padding)


def _legend_columns(labels: list[str]) -> int:
    """2 where two columns of labels, filled one after the other, fit a panel's width; else 1."""
    half = -(-len(labels) // 2)
    width = sum(max(map(len, part), default=0) for part in (labels[:half], labels[half:]))
    return 2 if width <= LEGEND_WIDTH else 1


def _logarithmic(axis: "Axes", name: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set(**{f"{name}scale": "log"})
    scale = {"x": axis.xaxis, "y": axis.yaxis}[name]
    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter("{x:g}")
    scale.set_minor_locator(NullLocator())


def _note_lost(axis: "Axes", panel: Panel, curve: bool) -> bool:
    """Writes counts of runs without a figure outside the frame, where no point can hide them.

    Returns whether there are any.
    """
    edge = axis.get_xaxis_transform() if curve else axis.get_yaxis_transform()
    lost = [m for m in panel.marks if m.lost]
    for m in lost:
        axis.text(
            *((m.place, 1.01) if curve else (1.01, m.place)),
            f"×{m.lost}",
            transform=edge,
            color=LOST,
            size=6,
            ha="center" if curve else "left",
            va="bottom" if curve else "center",
        )
    if lost:
        axis.plot([], [], "x", color=LOST, ms=4, label="NaN, diverged or failed / all runs")
    return bool(lost)


def _name_places(axis: "Axes", plan: FigurePlan) -> None:
    """The ticks of the cells' axis."""
    ticks, places = plan.ticks, plan.places.values()
    if not plan.curve:
        axis.set_yticks(list(ticks), list(ticks.values()))
        axis.set_ylim(max(places) + 0.6, min(places) - 0.6)
        return
    margin = 0.04 * (max(places) - min(places))
    axis.set_xlim(min(places) - margin, max(places) + margin)
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.set_xlabel(plan.x_label)
    for label in axis.get_xticklabels():
        if label.get_text() in plan.places:
            label.set(rotation=30, ha="right")


def image(figure: "Figure", kind: str) -> bytes:
    """The figure as an svg or png file. It carries no date, so that equal figures are equal
    bytes."""
    from matplotlib import rc_context

    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    buffer = BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()
