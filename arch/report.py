"""`results/<name>/` alone → table.md, table.csv, figures, HTML and LaTeX."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from arch import results
from arch.renderers import to_csv, to_html, to_latex, to_markdown
from arch.tables import Table, tabulate

FORMATS = ("md", "csv", "svg", "html", "latex")


def build(
    folder: str | os.PathLike,
    formats: Sequence[str] = ("md", "csv", "svg"),
    against: str | os.PathLike | None = None,
    html_path: str | os.PathLike | None = None,
) -> Table:
    """Writes table.md, table.csv, <metric>.svg and .png, report.html, table.tex; returns the table.

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
    figure = re.sub(r"[^\w.-]", "_", table.spec.metric)
    if {"svg", "html"} & set(formats):
        from arch import figures  # here, since matplotlib takes longer than the rest together

        plan = figures.plan(table.rows, table.spec)
        if plan and "svg" in formats:
            figures.save(figures.draw(plan), folder, figure)
        if "html" in formats:
            plot = figures.interactive(plan) if plan else None
            path = Path(html_path) if html_path else folder / "report.html"
            results.replace(path, to_html(table, plot).encode())
    drawn = f"{figure}.svg" if (folder / f"{figure}.svg").exists() else ""
    for name, text in (
        ("md", lambda: to_markdown(table, drawn)),
        ("csv", lambda: to_csv(table)),
        ("latex", lambda: to_latex(table)),
    ):
        if name in formats:
            path = folder / f"table.{'tex' if name == 'latex' else name}"
            results.replace(path, text().encode())
    return table
