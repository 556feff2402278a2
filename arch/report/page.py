"""A report as one HTML page: no script, nothing fetched, light or dark as the reader's machine is.

Orders are strips of coloured letters, a cell's name opens where its figures come from, pictures are
the SVG files that stand beside the table.
"""

import html
from collections.abc import Iterable, Sequence

from arch import order
from arch.report.cards import strip
from arch.report.columns import MISSING
from arch.report.lines import Line, provenance
from arch.report.rows import Row, measured
from arch.report.seeds import line_seed
from arch.report.tables import Grid, ResultTable

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; --text: #1a1a1a; --faint: #555; --page: #fff; --box: #f4f4f4 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e4e4e4; --faint: #a8a8a8; --page: #161616; --box: #262626 }}
  figure svg {{ filter: invert(.9) hue-rotate(180deg) }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 75em; margin: 2em auto; padding: 0 1em }}
h1 {{ font-size: 1.5em }} h2 {{ font-size: 1.15em; margin-top: 2em }}
table {{ border-collapse: collapse; border: solid; border-width: 1.5px 0; white-space: nowrap }}
th {{ border-bottom: 1px solid }} th, td {{ padding: .2em .8em .2em 0; text-align: left }}
td.long {{ white-space: normal; min-width: 16em }}
.n {{ text-align: right; font-variant-numeric: tabular-nums }} .wide {{ overflow-x: auto }}
figure {{ margin: 1.5em 0 }} figure svg {{ max-width: 100%; height: auto }}
ul {{ color: var(--faint); font-size: 90%; padding-left: 1.2em }}
pre {{ background: var(--box); padding: .6em; overflow-x: auto }}
button {{ font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer;
  text-decoration: underline dotted; text-underline-offset: .2em }}
[popover] {{ color: var(--text); background: var(--page); border: 1px solid var(--faint);
  border-radius: 6px; padding: 1em; max-width: min(92vw, 60em); max-height: 80vh; overflow: auto }}
[popover] dt {{ color: var(--faint) }} [popover] dd {{ margin: 0 0 .5em }}
</style><body>{body}</body></html>
"""
LONG = 40  # characters of a cell of text, beyond which it may be broken


def to_html(table: ResultTable, pictures: Sequence[str] = ()) -> str:
    """The page. pictures: the text of SVG files, in the order they are shown."""
    body = [_heading(table.main, 1), _grid(table.main, _buttons(table.rows))]
    body += [f"<figure>{svg[svg.index('<svg') :]}</figure>" for svg in pictures]
    body += [_notes(table.notes)]
    for grid in table.sections:
        body += [_heading(grid, 2), _grid(grid), _notes([grid.note] * bool(grid.note))]
    body += [f"<h2>To make it again</h2><pre>{_text(table.command)}</pre>"] * bool(table.command)
    body += [_origin(place, row, table) for place, row in enumerate(table.rows) if row.lines]
    return PAGE.format(title=_text(table.main.title), body="\n".join(body))


def _text(text: object) -> str:
    return html.escape(str(text))


def _heading(grid: Grid, level: int) -> str:
    return f"<h{level}>{_text(grid.title)}</h{level}>"


def _notes(notes: Iterable[str]) -> str:
    items = "".join(f"<li>{_text(note)}" for note in notes)
    return f"<ul>{items}</ul>" if items else ""


def _grid(grid: Grid, first: Sequence[str] = ()) -> str:
    """first: what stands in the first column instead of its text."""
    lines = ["".join(_field("th", name, right) for name, right in _columns(grid, grid.columns))]
    for place, row in enumerate(grid.rows):
        fields = [_field("td", cell, right) for cell, right in _columns(grid, row)]
        if "order" in grid.columns:
            at = grid.columns.index("order")
            fields[at] = f"<td>{_strip(row[at])}</td>"
        fields[:1] = [f"<td>{first[place]}</td>"] if first else fields[:1]
        lines.append("".join(fields))
    return f"<div class=wide><table><tr>{'<tr>'.join(lines)}</table></div>"


def _columns(grid: Grid, row: Sequence[str]) -> Iterable[tuple[str, bool]]:
    return zip(row, grid.numeric, strict=True)


def _field(tag: str, text: str, right: bool) -> str:
    kind = " class=n" * right or " class=long" * (tag == "td" and len(text) > LONG)
    return f"<{tag}{kind}>{_text(text)}</{tag}>"


def _strip(text: str) -> str:
    """The letters of an order, or of two with a | between; other text as it is."""
    try:
        letters = "|".join(order.expand(part.strip()) for part in text.split("|"))
    except order.OrderError:
        return _text(text)
    return f'<span title="{_text(text)}">{strip(letters)}</span>'


def _buttons(rows: Sequence[Row]) -> list[str]:
    """The name of each row's cell, which opens where its figures come from."""
    return [
        f"<button popovertarget=row{place}>{_text(row.cell)}</button>"
        if row.lines
        else _text(row.cell)
        for place, row in enumerate(rows)
    ]


def _origin(place: int, row: Row, table: ResultTable) -> str:
    """What a cell's name opens: its seeds, and the provenance of their lines."""
    facts = "".join(f"<dt>{_text(k)}<dd>{_text(v)}" for k, v in provenance(row.lines))
    names = ("seed", f"{table.spec.metric} ({table.spec.split})", "status", "hash")
    lines = tuple(_line(line, table) for line in row.lines)
    seeds = _grid(Grid("", names, lines))
    return f"<div popover id=row{place}><h2>{_text(row.cell)}</h2>{seeds}<dl>{facts}</dl></div>"


def _line(line: Line, table: ResultTable) -> tuple[str, ...]:
    found = measured(line, table.spec.split, table.spec.metric)
    figure = MISSING if found is None else f"{found.value:.6g}"
    return str(line_seed(line)), figure, line["status"], line["hash"][:8]
