"""What the figure of an experiment shows, before anything is drawn.

Every seed, means with intervals, the baseline's band and the paper's figures. What may not be
compared never shares an axis: there is one panel per (setting, device), and one for the paper. With
a number per cell (`TableSpec.x`) the panels are curves; without, dot plots by cell.
`arch.report.figures` draws the plan.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from arch.report import statistics
from arch.report.rows import Row, Setting
from arch.report.seeds import Seed
from arch.report.specification import TableSpec

OURS, PAPER = "#0072B2", "#A6461F"
MOST_TICKS = 20

# what shares a panel: how it was measured, on which kind of device, and in which configuration
Kind = tuple[Setting, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Mark:
    """One cell in a panel.

    Attributes:
        place: where it stands on the cells' axis.
        values: seed → figure, each drawn as a dot.
        mean, low, high: the mean and the ends of its bar; low and high are nan without a bar.
        lost: '2/3' where two of three runs have no figure, else ''.
    """

    cell: str
    place: float
    values: dict[Seed, float]
    mean: float
    low: float
    high: float
    lost: str


@dataclass(frozen=True)
class Band:
    """The baseline: a line at its mean, and a band from low to high unless these are nan."""

    label: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """One frame: its title, the label of its value axis, the legend's text for its marks."""

    title: str
    label: str
    legend: str
    colour: str
    marks: tuple[Mark, ...]
    band: Band | None


@dataclass(frozen=True)
class FigurePlan:
    """Panels over one axis of cells.

    Attributes:
        places: cell → where it stands on that axis.
        numeric: the cells whose place is their number in `TableSpec.x`; empty for dot plots.
        x_label: the name of that number.
    """

    panels: tuple[Panel, ...]
    places: dict[str, float]
    numeric: frozenset[str]
    x_label: str

    @property
    def curve(self) -> bool:
        """Whether values are drawn over a number, and not cell by cell."""
        return bool(self.numeric)

    def means(self, panel: Panel) -> tuple[list[Mark], list[Mark]]:
        """(marks of a panel that have a mean, by place; those of them that a line joins)."""
        shown = sorted((m for m in panel.marks if m.mean == m.mean), key=lambda m: m.place)
        return shown, [m for m in shown if m.cell in self.numeric]

    @property
    def ticks(self) -> dict[float, str]:
        """Place → its name: the cells of a dot plot; on a curve, x and the cells without an x."""
        names = {p: c for c, p in self.places.items() if c not in self.numeric}
        xs = sorted({self.places[cell] for cell in self.numeric})
        step = -(-len(xs) // MOST_TICKS) if xs else 1
        return {**{x: f"{x:g}" for x in xs[::step]}, **names}


def plan_figure(rows: Iterable[Row], spec: TableSpec) -> FigurePlan | None:
    """What to draw; None where no row has a figure yet."""
    rows = [row for row in rows if row.lines]
    kinds = list(
        dict.fromkeys((row.setting, row.device, row.varied) for row in rows if row.setting)
    )
    if not any(row.values for row in rows):
        return None
    cells = list(dict.fromkeys([*(row.cell for row in rows), *spec.paper]))
    places, numeric = _places(cells, spec)

    def home(row: Row) -> Kind:
        # a row that lost all its seeds has no setting: it joins its device's
        same = [kind for kind in kinds if kind[1:] == (row.device, row.varied)] or kinds
        return (row.setting, row.device, row.varied) if row.setting else same[0]

    drawn = [
        _ours(kind, [row for row in rows if home(row) == kind], places, spec) for kind in kinds
    ]
    if spec.paper:
        drawn.append(_paper(places, spec))
    return FigurePlan(tuple(drawn), places, numeric, spec.x_label or "x")


def _places(cells: list[str], spec: TableSpec) -> tuple[dict[str, float], frozenset[str]]:
    """(cell → place, the cells placed by their x); cells without an x follow behind."""
    numeric = [cell for cell in cells if cell in spec.x]
    if len({spec.x[cell] for cell in numeric}) < 2:
        return {cell: float(n) for n, cell in enumerate(cells)}, frozenset()
    places = {cell: float(spec.x[cell]) for cell in numeric}
    xs = sorted(set(places.values()))
    gap = max((xs[-1] - xs[0]) / 12, min(b - a for a, b in zip(xs, xs[1:], strict=False)))
    others = [cell for cell in cells if cell not in places]
    places |= {cell: xs[-1] + gap * (n + 1.5) for n, cell in enumerate(others)}
    return places, frozenset(numeric)


def _ours(kind: Kind, rows: list[Row], places: dict[str, float], spec: TableSpec) -> Panel:
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
    told = "".join(f"; {field.rpartition('.')[2]} {value}" for field, value in kind[2])
    return Panel(f"Ours: {kind[0]}; {kind[1]}{told}", spec.metric, legend, OURS, tuple(marks), band)


def _paper(places: dict[str, float], spec: TableSpec) -> Panel:
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
