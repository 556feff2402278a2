"""A table as Markdown, CSV, or on the terminal; each escapes for itself."""

import csv
import io
import re
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch.report import statistics
from arch.report.columns import constant, losses
from arch.report.comparisons import Comparison
from arch.report.lines import revision
from arch.report.rows import Row
from arch.report.specification import COLUMNS, TableSpec
from arch.report.tables import Grid, ResultTable


def print_table(table: ResultTable, to: Console | None = None) -> None:
    """Prints the table with rich, on standard output unless `to` is another console."""
    to = to or Console()
    for grid in (table.main, *table.sections):
        grid, left_out = _fitting(grid, to.width)
        shown = Table(title=Text(grid.title), title_justify="left")
        for name, right in zip(grid.columns, grid.numeric, strict=True):
            shown.add_column(Text(name), justify="right" if right else "left")
        for row in grid.rows:
            shown.add_row(*(Text(cell) for cell in row))
        to.print(shown)
        if left_out:
            to.print(Text(f"Left out, the terminal is narrow: {', '.join(left_out)}"))
        if grid.note:
            to.print(Text(grid.note))
    for note in table.notes:
        to.print(Text(note, style="dim"))
    if table.command:
        to.print(Text(f"Again: {table.command}", style="dim"), soft_wrap=True)


def _fitting(grid: Grid, width: int) -> tuple[Grid, list[str]]:
    """(the grid, without columns that a terminal of this width has no room for; their names).

    The rightmost go first, the first five stay but for `order`, and `failures` always stays.
    """
    columns = dict(zip(grid.columns, zip(*grid.rows, strict=True), strict=False))
    left_out = []
    spare = [c for c in list(columns)[:4:-1] if c != "failures"]
    for name in (*spare, "order"):
        need = sum(max(map(len, (c, *cells))) + 3 for c, cells in columns.items()) + 1
        if need > width and columns.pop(name, None) is not None:
            left_out.append(name)
    rows = tuple(zip(*columns.values(), strict=True))
    return (Grid(grid.title, tuple(columns), rows, grid.note) if left_out else grid), left_out


def to_markdown(table: ResultTable, pictures: Mapping[str, str]) -> str:
    """The whole report; columns are padded, so that the source reads well too.

    pictures: title → file, as the page refers to it.
    """
    blocks = [f"# {markdown_text(table.main.title)}", markdown_grid(table.main)]
    blocks += [f"![{markdown_text(title)}]({file})" for title, file in pictures.items()]
    blocks += ["\n".join(f"- {markdown_text(note)}" for note in table.notes)]
    for grid in table.sections:
        blocks += [
            f"## {markdown_text(grid.title)}",
            markdown_grid(grid),
            *([markdown_text(grid.note)] * bool(grid.note)),
        ]
    if table.command:
        blocks += ["To make it again:", f"```sh\n{table.command}\n```"]
    return "\n\n".join(blocks) + "\n"


def markdown_grid(grid: Grid) -> str:
    """The grid as a table of GitHub's Markdown, without its title and note."""
    lines = [[markdown_text(cell) for cell in line] for line in (grid.columns, *grid.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    right = grid.numeric
    rule = ["-" * (width - r) + ":" * r for width, r in zip(widths, right, strict=True)]
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(width) if r else cell.ljust(width)
            for cell, width, r in zip(line, widths, right, strict=True)
        )
        + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def markdown_text(text: str) -> str:
    """Escapes what Markdown would read as markup; _ and * only where they could be emphasis."""
    text = re.sub(r"([\\|`<>~$]|\](?=[(\[:])|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    return re.sub(r"\*(?=\S)|(?<=\S)\*", r"\\*", text)


CSV_FIELDS = (
    "cell", "device", "hash", "order", "split", "unit", "window", "stride", "metric",
    "n", "mean", "sd", "low", "high",
    "pairs", "difference", "difference_low", "difference_high", "p_holm", "detectable",
    "lost", "revisions", "paper", "paper_sd", "paper_n", "paper_metric", "paper_unit",
)  # fmt: skip


def to_csv(table: ResultTable) -> str:
    """One line per row, numbers with every digit, empty where there is none."""
    file = io.StringIO()
    extra = [c for c in COLUMNS if "." in c or c.endswith("_token") or c.endswith("_second")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*CSV_FIELDS, *extra])
    for row, compared in zip(table.rows, table.compared, strict=True):
        cells = [*_csv_row(table.spec, row, compared), *(constant(row, c) for c in extra)]
        writer.writerow(["" if cell != cell else cell for cell in cells])
    return file.getvalue()


def _csv_row(spec: TableSpec, row: Row, compared: Comparison | None) -> list[object]:
    """What CSV_FIELDS name, of one row."""
    d = compared.difference if compared else statistics.summary([])
    paper = spec.paper.get(row.cell)
    return [
        row.cell,
        row.device,
        row.hash,
        row.lines[0].get("order", "") if row.lines else "",
        *(row.setting or (spec.split, "", "", "")),
        spec.metric,
        *statistics.summary(row.values.values()),
        *(d.n, d.mean, d.low, d.high),
        *((compared.p, compared.detectable) if compared else ("", "")),
        losses(row),
        " ".join(dict.fromkeys(revision(line) for line in row.lines)),
        *((paper.value, paper.sd, paper.n or "") if paper else ("", "", "")),
        *((spec.paper_metric or spec.metric, spec.paper_unit) if paper else ("", "")),
    ]
