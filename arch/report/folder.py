"""From `results/<name>/` alone to table.md, table.csv, figures, HTML and LaTeX."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from arch.report import figures, interactive
from arch.report.claims import to_claims_csv
from arch.report.files import replace_file
from arch.report.panels import plan_figure
from arch.report.renderers import to_csv, to_html, to_latex, to_markdown
from arch.report.tables import ResultTable, tabulate

FORMATS = ("md", "csv", "svg", "html", "latex")


def write_report(
    folder: str | os.PathLike,
    formats: Sequence[str] = ("md", "csv", "svg"),
    against: str | os.PathLike | None = None,
    html_path: str | os.PathLike | None = None,
) -> ResultTable:
    """Writes table.md, table.csv, <metric>.svg and .png, report.html, table.tex; returns the table.

    Beside table.csv stands claims.csv where the experiment has claims.

    formats: which of FORMATS to write; svg writes the pictures, as .svg and .png.
    against: another results folder, shown beside this one and subtracted where the setting (split,
    unit, window, stride) and the corpus are equal. html_path: where the HTML goes instead.
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
    plan = plan_figure(table.rows, table.spec)
    metric = re.sub(r"[^\w.-]", "_", table.spec.metric)
    if "svg" in formats:
        if plan:
            figures.save(figures.draw(plan), folder, metric)
        for chart in table.charts:
            chart.draw(folder)
    pictures = {table.main.title: f"{metric}.svg"}
    pictures |= {chart.title: f"{chart.name}.svg" for chart in table.charts}
    pictures = {title: file for title, file in pictures.items() if (folder / file).exists()}

    def page() -> str:
        plot = interactive.draw_interactive(plan) if plan else None
        drawn = [folder / f"{chart.name}.svg" for chart in table.charts]
        return to_html(table, plot, [file.read_text() for file in drawn if file.exists()])

    for name, file, text in (
        ("md", "table.md", lambda: to_markdown(table, pictures)),
        ("csv", "table.csv", lambda: to_csv(table)),
        ("latex", "table.tex", lambda: to_latex(table)),
        ("html", "report.html", page),
    ):
        if name in formats:
            path = Path(html_path) if name == "html" and html_path else folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text().encode())
    if "csv" in formats and table.verdicts:
        replace_file(folder / "claims.csv", to_claims_csv(table.verdicts).encode())
    return table
