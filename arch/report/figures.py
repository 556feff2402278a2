"""The figure of an experiment: every seed, means with intervals, the baseline's band, the paper.

`plan` says once what is drawn; `draw` renders it with matplotlib, `arch.report.interactive` with
plotly.
What may not be compared never shares an axis: one panel a (setting, device), and one for the
paper's figures. With a number a cell (`Spec.x`) the panels are curves; without, dot plots by cell.
Rebuilding gives the same bytes.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.report import statistics
from arch.report.lines import Row, Spec, replace

OURS, PAPER, LOST = "#0072B2", "#A6461F", "#C4161C"
LEGEND_WIDTH = 50  # characters of two columns that fit a panel
LOG_RATIO = 10  # a metric that spans more than this gets a logarithmic axis
MOST_TICKS = 20

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


@dataclass(frozen=True)
class Mark:
    """A cell in a panel: its place on the cells' axis, seeds' values, mean, ends of its bar.

    lost: '2/3' where two of three runs have no figure, else ''. low, high: nan without a bar.
    """

    cell: str
    place: float
    values: dict[int, float]
    mean: float
    low: float
    high: float
    lost: str


@dataclass(frozen=True)
class Band:
    """A baseline: a line at its mean and a band from low to high (nan: the line alone)."""

    label: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """One frame: its title, the label of its value axis, what its marks are called."""

    title: str
    label: str
    legend: str
    colour: str
    marks: tuple[Mark, ...]
    band: Band | None


@dataclass(frozen=True)
class Plan:
    """Panels over one axis of cells: `places` gives each cell its place, `numeric` those on x."""

    panels: tuple[Panel, ...]
    places: dict[str, float]
    numeric: frozenset[str]
    x_label: str

    @property
    def curve(self) -> bool:
        return bool(self.numeric)

    def means(self, panel: Panel) -> tuple[list[Mark], list[Mark]]:
        """Marks of a panel that have a mean, by place; and those of them that a line joins."""
        shown = sorted((m for m in panel.marks if m.mean == m.mean), key=lambda m: m.place)
        return shown, [m for m in shown if m.cell in self.numeric]

    @property
    def ticks(self) -> dict[float, str]:
        """Names of places: cells of a dot plot; on a curve, cells that have no number, and x."""
        names = {p: c for c, p in self.places.items() if c not in self.numeric}
        xs = sorted({self.places[cell] for cell in self.numeric})
        step = -(-len(xs) // MOST_TICKS) if xs else 1
        return {**{x: f"{x:g}" for x in xs[::step]}, **names}


def plan(rows: Iterable[Row], spec: Spec) -> Plan | None:
    """What to draw, or None where there is no figure of ours yet."""
    rows = [row for row in rows if row.lines]
    kinds = list(dict.fromkeys((row.setting, row.device) for row in rows if row.setting))
    if not any(row.values for row in rows):
        return None
    cells = list(dict.fromkeys([*(row.cell for row in rows), *spec.paper]))
    places, numeric = _places(cells, spec)

    def home(row: Row):  # a row that lost all its seeds has no setting: it joins its device's
        same = [kind for kind in kinds if kind[1] == row.device] or kinds
        return (row.setting, row.device) if row.setting else same[0]

    drawn = [
        _ours(kind, [row for row in rows if home(row) == kind], places, spec) for kind in kinds
    ]
    if spec.paper:
        drawn.append(_paper(places, spec))
    return Plan(tuple(drawn), places, numeric, spec.x_label or "x")


def _places(cells: list[str], spec: Spec) -> tuple[dict[str, float], frozenset[str]]:
    numeric = [cell for cell in cells if cell in spec.x]
    if len({spec.x[cell] for cell in numeric}) < 2:
        return {cell: float(n) for n, cell in enumerate(cells)}, frozenset()
    places = {cell: float(spec.x[cell]) for cell in numeric}
    xs = sorted(set(places.values()))
    gap = max((xs[-1] - xs[0]) / 12, min(b - a for a, b in zip(xs, xs[1:], strict=False)))
    others = [cell for cell in cells if cell not in places]
    places |= {cell: xs[-1] + gap * (n + 1.5) for n, cell in enumerate(others)}
    return places, frozenset(numeric)


def _ours(kind: tuple, rows: list[Row], places: dict[str, float], spec: Spec) -> Panel:
    marks, band, counts = [], None, set()
    for row in rows:
        s = statistics.summary(row.values.values())
        lost = f"{len(row.losses)}/{len(row.lines)}" if row.losses else ""
        marks.append(Mark(row.cell, places[row.cell], row.values, s.mean, s.low, s.high, lost))
        counts |= {s.n} - {0}
        if row.cell == spec.baseline and s.n:
            spread = f": mean ± SD (n = {s.n})" if s.n > 1 else ": single run"
            text = row.cell + ("" if spec.exact else spread)
            band = Band(text, s.mean, s.mean - s.sd, s.mean + s.sd)
    n = "–".join(str(c) for c in dict.fromkeys(sorted(counts)[:: max(len(counts) - 1, 1)]))
    legend = f"mean, 95 % interval (n = {n})" if n not in ("", "1") else "single run"
    legend = "exact" if spec.exact else legend
    return Panel(f"Ours: {kind[0]}; {kind[1]}", spec.metric, legend, OURS, tuple(marks), band)


def _paper(places: dict[str, float], spec: Spec) -> Panel:
    marks = [
        Mark(cell, places[cell], {}, p.value, p.value - p.sd, p.value + p.sd, "")
        for cell, p in spec.paper.items()
    ]
    base, band = spec.paper.get(spec.baseline), None
    if base:
        text = f"{spec.baseline}: " + (f"mean ± SD (n = {base.n})" if base.n > 1 else "published")
        band = Band(text, base.value, base.value - base.sd, base.value + base.sd)
    bars = any(p.sd == p.sd for p in spec.paper.values())
    unit = f" ({spec.paper_unit})" if spec.paper_unit else ""
    return Panel(
        f"Paper: {spec.paper_label}".removesuffix(": "),
        spec.paper_metric or spec.metric + unit,
        "published, ± SD" if bars else "published",
        PAPER,
        tuple(marks),
        band,
    )


def draw(figure_plan: Plan):
    """The matplotlib Figure, in inches for a paper's two columns; no pyplot, so no global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    count, cells = len(figure_plan.panels), len(figure_plan.places)
    height = 2.9 if figure_plan.curve else 1.35 + 0.17 * max(cells, 4)
    with rc_context(STYLE):
        figure = Figure(figsize=(max(3.4 * count, 4.2), height), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False, sharey=not figure_plan.curve)[0]
        for axis, panel in zip(axes, figure_plan.panels, strict=True):
            _draw_panel(axis, panel, figure_plan)
            _name_places(axis, figure_plan)
    return figure


def _draw_panel(axis, panel: Panel, figure_plan: Plan) -> None:
    curve = figure_plan.curve
    turn = (lambda p, v: (p, v)) if curve else (lambda p, v: (v, p))
    if panel.band:
        line, span = (axis.axhline, axis.axhspan) if curve else (axis.axvline, axis.axvspan)
        line(panel.band.mean, color=panel.colour, lw=0.9, ls=(0, (4, 2)), label=panel.band.label)
        if panel.band.low == panel.band.low:
            span(panel.band.low, panel.band.high, color=panel.colour, alpha=0.12, lw=0)
    seeds = [(m.place, v) for m in panel.marks if len(m.values) > 1 for v in m.values.values()]
    if seeds:
        axis.plot(
            *turn(*zip(*seeds, strict=True)),
            "o",
            ms=3.2,
            mfc=panel.colour,
            mec="none",
            alpha=0.38,
            label="one seed",
            zorder=2,
        )
    shown, joined = figure_plan.means(panel)
    if joined:
        axis.plot(
            *turn([m.place for m in joined], [m.mean for m in joined]),
            "-",
            color=panel.colour,
            lw=1.0,
            zorder=3,
        )
    ends = [[m.mean - m.low for m in shown], [m.high - m.mean for m in shown]]
    axis.errorbar(
        *turn([m.place for m in shown], [m.mean for m in shown]),
        fmt="o",
        ms=4,
        **{"yerr" if curve else "xerr": ends},
        color=panel.colour,
        mfc="white",
        mew=1.1,
        elinewidth=0.9,
        capsize=1.8,
        label=panel.legend,
        zorder=4,
    )
    raised = _note_lost(axis, panel, curve) and curve
    values = [v for m in panel.marks for v in (m.mean, *m.values.values()) if v == v]
    if values and 0 < LOG_RATIO * min(values) < max(values):
        _logarithmic(axis, "y" if curve else "x")
    (axis.set_ylabel if curve else axis.set_xlabel)(panel.label)
    axis.grid(axis="y" if curve else "x", lw=0.4, color="#DDDDDD")
    axis.set_axisbelow(True)
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
    axis.set_title(
        textwrap.fill(panel.title, 54), color=panel.colour, pad=5 + 10.5 * rows + 8 * raised
    )


def _legend_columns(labels: list[str]) -> int:
    """Two, filled one after the other, where they fit a panel's width beside each other."""
    half = -(-len(labels) // 2)
    width = sum(max(map(len, part), default=0) for part in (labels[:half], labels[half:]))
    return 2 if width <= LEGEND_WIDTH else 1


def _logarithmic(axis, name: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set(**{f"{name}scale": "log"})
    scale = getattr(axis, f"{name}axis")
    scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scale.set_major_formatter("{x:g}")
    scale.set_minor_locator(NullLocator())


def _note_lost(axis, panel: Panel, curve: bool) -> bool:
    """Counts of runs without a figure, outside the frame, where no point can hide them."""
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
        axis.plot([], [], "x", color=LOST, ms=4, label="NaN or failed / all runs")
    return bool(lost)


def _name_places(axis, figure_plan: Plan) -> None:
    ticks, places = figure_plan.ticks, figure_plan.places.values()
    if not figure_plan.curve:
        axis.set_yticks(list(ticks), list(ticks.values()))
        axis.set_ylim(max(places) + 0.6, min(places) - 0.6)
        return
    margin = 0.04 * (max(places) - min(places))
    axis.set_xlim(min(places) - margin, max(places) + margin)
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.set_xlabel(figure_plan.x_label)
    for label in axis.get_xticklabels():
        if label.get_text() in figure_plan.places:
            label.set(rotation=30, ha="right")


def save(figure, folder: Path, stem: str) -> None:
    """Writes `stem`.svg and `stem`.png without dates, so that equal figures are equal bytes."""
    from io import BytesIO

    from matplotlib import rc_context

    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = BytesIO()
        with rc_context(STYLE):
            figure.savefig(buffer, format=suffix, dpi=200, metadata=metadata)
        replace(folder / f"{stem}.{suffix}", buffer.getvalue())
