"""From `results/<name>/` alone to table.md, table.csv, figures, HTML and LaTeX."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arch.report import figures
from arch.report.claims import to_claims_csv
from arch.report.files import replace_file
from arch.report.latex import to_latex
from arch.report.page import to_html
from arch.report.panels import plan_figure
from arch.report.renderers import to_csv, to_markdown
from arch.report.tables import ResultTable, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("md", "csv", "svg", "html", "latex")


def write_report(
    folder: str | os.PathLike,
    formats: Sequence[str] = ("md", "csv", "svg"),
    against: str | os.PathLike | None = None,
    html_path: str | os.PathLike | None = None,
    notes: bool = False,
) -> ResultTable:
    """Writes table.md, table.csv, <metric>.svg and .png, report.html, table.tex; returns the table.

    Beside table.csv stands claims.csv where the experiment has claims.

    formats: which of FORMATS to write; svg writes the pictures, as .svg and .png.
    against: another results folder, shown beside this one and subtracted where the setting (split,
    unit, window, stride) and the corpus are equal. html_path: where the HTML goes instead.
    notes: whether table.tex has what stands below the tables.
    Raises ValueError for an unknown format, a folder that is not there, or a damaged file.
    """
    folder = Path(folder)
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"format {name!r} is not known; allowed: {', '.join(FORMATS)}")
    for path in (folder, *([Path(against)] if against else [])):
        if not path.is_dir():
            raise ValueError(f"{path}: no such results folder")
    table = tabulate(folder, Path(against) if against else None)
    pictures = _pictures(table) if {"svg", "html"} & {*formats} else []
    if "svg" in formats:
        for picture in pictures:
            replace_file(folder / f"{picture.stem}.svg", picture.svg)
            replace_file(folder / f"{picture.stem}.png", figures.image(picture.figure, "png"))
    files = {title: f"{stem}.svg" for title, stem in _titles(table)}
    there = {title: file for title, file in files.items() if (folder / file).exists()}

    def page() -> str:
        return to_html(table, [picture.svg.decode() for picture in pictures])

    for name, file, text in (
        ("md", "table.md", lambda: to_markdown(table, there)),
        ("csv", "table.csv", lambda: to_csv(table)),
        ("latex", "table.tex", lambda: to_latex(table, notes)),
        ("html", "report.html", page),
    ):
        if name in formats:
            path = Path(html_path) if name == "html" and html_path else folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text().encode())
    if "csv" in formats and table.verdicts:
        replace_file(folder / "claims.csv", to_claims_csv(table.verdicts).encode())
    return table


class Picture(NamedTuple):
    """A figure, its file's name without the ending, and what stands in the file that ends in svg,
    which a page has too."""

    stem: str
    figure: "Figure"
    svg: bytes


def _titles(table: ResultTable) -> list[tuple[str, str]]:
    """(title, stem) of the main figure and of each chart."""
    metric = re.sub(r"[^\w.-]", "_", table.spec.metric)
    return [(table.main.title, metric), *((chart.title, chart.name) for chart in table.charts)]


def _pictures(table: ResultTable) -> list[Picture]:
    plan = plan_figure(table.rows, table.spec)
    (_, metric), *_ = _titles(table)
    drawn = [(metric, figures.draw(plan))] if plan else []
    drawn += [(chart.name, chart.picture()) for chart in table.charts]
    return [Picture(stem, figure, figures.image(figure, "svg")) for stem, figure in drawn]
