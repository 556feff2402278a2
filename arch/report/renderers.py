"""A table as Markdown, CSV, LaTeX or HTML, or on the terminal; each escapes for itself."""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch.report import statistics
from arch.report.columns import MISSING, constant, losses
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
        for name, right in zip(grid.columns, _right(grid), strict=True):
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


def _right(grid: Grid) -> list[bool]:
    """True for each column of numbers: every entry starts with a digit or a sign, or is missing."""
    return [
        all(re.match(rf"[−+]?\d|{MISSING}|baseline|$", row[i]) for row in grid.rows)
        and grid.columns[i] not in ("cell", "order")
        for i in range(len(grid.columns))
    ]


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
    right = _right(grid)
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


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "†": r"$\dagger$",
    "—": "---",
    "–": "--",
    "×": r"$\times$",
    "…": r"\ldots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def _tex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in " ".join(text.split()))


def to_latex(table: ResultTable) -> str:
    """One `table` environment per grid, for the package booktabs; the notes in small print."""
    blocks = ["% needs \\usepackage{booktabs}"]
    for grid in (table.main, *table.sections):
        head, *body = (" & ".join(map(_tex, line)) + r" \\" for line in (grid.columns, *grid.rows))
        notes = table.notes if grid is table.main else [grid.note] * bool(grid.note)
        align = "".join("r" if right else "l" for right in _right(grid))
        blocks.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_tex(grid.title)}}}",
                    rf"\begin{{tabular}}{{{align}}}",
                    r"\toprule",
                    head,
                    r"\midrule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    *(rf"\par\footnotesize {_tex(n)}" for n in notes),
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(blocks) + "\n"


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; border: solid; border-width: 1.5px 0; white-space: nowrap }}
th {{ border-bottom: 1px solid }} th, td {{ padding: .2em .8em; text-align: left }}
.n {{ text-align: right; font-variant-numeric: tabular-nums }} div.wide {{ overflow-x: auto }}
ul {{ color: #555; font-size: 90% }} pre {{ background: #f4f4f4; padding: .6em; overflow-x: auto }}
</style><body>{body}</body></html>
"""


def to_html(table: ResultTable, plot: Any = None, charts: Sequence[str] = ()) -> str:
    """One page with everything in it, plotly's code included.

    plot: the plotly figure, or None. charts: the text of SVG files.
    """
    body = []
    for grid in (table.main, *table.sections):
        right, main = _right(grid), grid is table.main
        lines = [
            "".join(
                f"<{tag}{' class=n' * r}>{html.escape(cell)}</{tag}>"
                for cell, r in zip(line, right, strict=True)
            )
            for tag, line in (("th", grid.columns), *(("td", row) for row in grid.rows))
        ]
        level = "h1" if main else "h2"
        body += [
            f"<{level}>{html.escape(grid.title)}</{level}>",
            f"<div class=wide><table><tr>{'<tr>'.join(lines)}</table></div>",
        ]
        if main and plot is not None:
            body.append(plot.to_html(full_html=False, include_plotlyjs=True, div_id="figure"))
        notes = table.notes if main else [grid.note] * bool(grid.note)
        body.append(f"<ul>{''.join(f'<li>{html.escape(note)}' for note in notes)}</ul>")
    body += [f"<div class=wide>{chart[chart.index('<svg') :]}</div>" for chart in charts]
    body += [f"<pre>{html.escape(table.command)}</pre>"] if table.command else []
    return PAGE.format(title=html.escape(table.main.title), body="\n".join(body))
