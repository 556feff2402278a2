"""From `results/<name>/` alone to the table of an experiment: Markdown, CSV, SVG, HTML, LaTeX.

What may be averaged is a row (`results.Row`): one cell, configuration, device kind and way of
measuring. A NaN is a result and is counted; the paper's figures stand beside ours and are
subtracted only where the experiment says that the metric is the same.
"""

import csv
import html
import io
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch import results, statistics
from arch.results import COLUMNS, Row, Spec
from arch.statistics import Summary, decimals, mean_and_interval, mean_and_sd, number

FORMATS = ("md", "csv", "svg", "html", "latex")
MISSING = "—"
FEW = 5  # under so many seeds a table says how wide its intervals are


@dataclass(frozen=True)
class Grid:
    """A table of strings; every renderer escapes them for itself."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """What `build` made: the main grid, the experiment's own sections, notes and provenance."""

    name: str
    spec: Spec
    rows: tuple[Row, ...]
    main: Grid
    sections: tuple[Grid, ...]
    notes: tuple[str, ...]
    command: str


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
    table = tabulate(folder, against and Path(against))
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


def tabulate(folder: Path, against: Path | None = None) -> Table:
    """The table of a results folder, nothing written."""
    experiment, lines = results.read_experiment(folder), results.read(folder)
    spec = Spec.of(experiment.get("table") or {})
    rows = results.rows(lines, experiment.get("cells", ()), spec.split, spec.metric)
    name = folder.resolve().name
    foreign = results.foreign(lines)
    notes = [*_caption(rows, spec), *_paper_notes(spec), *_loss_notes(rows)]
    if foreign:
        codes = dict.fromkeys(f"{line['cell']} ({results.revision(line)})" for line in foreign)
        notes.append(
            "† finished by other code than most of the table, or by uncommitted code: "
            + ", ".join(codes)
        )
    columns = _identity(rows, {id(line) for line in foreign})
    columns |= _figures(rows, spec) | _paper(rows, spec) | _extra(rows, spec)
    if against:
        other = results.rows(results.read(against), (), spec.split, spec.metric)
        columns |= _against(rows, other, spec, against.resolve().name)
        missing = sorted({r.cell for r in other} - {r.cell for r in rows})
        notes += [f"Only in {against.resolve().name}: {', '.join(missing)}"] if missing else []
    seeds = sorted({line["seed"] for line in lines})
    notes += [f"Seeds: {_ranges(seeds)}"] if seeds else []
    notes += [f"{label}: {text}" for label, text in results.provenance(lines)]
    main = Grid(spec.title or name, tuple(columns), tuple(zip(*columns.values(), strict=True)))
    return Table(
        name,
        spec,
        tuple(rows),
        main,
        tuple(map(_section, spec.sections)),
        tuple(notes),
        _command(experiment),
    )


def _section(section: Mapping[str, Any]) -> Grid:
    title, columns = str(section.get("title", "")), tuple(map(str, section.get("columns", ())))
    for row in section.get("rows", ()):
        if len(row) != len(columns):
            raise ValueError(
                f"table.sections {title!r}: a row has {len(row)} entries, "
                f"there are {len(columns)} columns"
            )
    rows = tuple(tuple(map(_plain, row)) for row in section.get("rows", ()))
    return Grid(title, columns, rows, str(section.get("note", "")))


def baseline(row: Row, rows: Iterable[Row], spec: Spec) -> Row | None:
    """The row that `row` may be compared with: the baseline's on its device, in its setting."""
    found = [
        r
        for r in rows
        if r.cell == spec.baseline
        and r.values
        and (r.device, r.setting) == (row.device, row.setting)
    ]
    return found[0] if len(found) == 1 else None


def difference(row: Row, rows: Iterable[Row], spec: Spec) -> Summary | None:
    """Paired difference to the baseline, None with fewer than two pairs or for itself."""
    base = baseline(row, rows, spec)
    if base is None or row.cell == spec.baseline:
        return None
    pairs = statistics.paired_difference(row.values, base.values)
    return pairs if pairs.n > 1 else None


def _identity(rows: list[Row], foreign: set[int]) -> dict[str, list[str]]:
    daggers = [" †" * any(id(line) in foreign for line in row.lines) for row in rows]
    columns = {"cell": [row.cell + dagger for row, dagger in zip(rows, daggers, strict=True)]}
    if len({row.device for row in rows if row.lines}) > 1:
        columns["device"] = [row.device for row in rows]
    if len({(row.cell, row.hash) for row in rows}) > len({row.cell for row in rows}):
        columns["configuration"] = [row.hash[:8] for row in rows]
    orders = [row.lines[0].get("order", "") if row.lines else "" for row in rows]
    return columns | ({"order": orders} if any(orders) else {})


def _figures(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    summaries = [statistics.summary(row.values.values()) for row in rows]
    places = decimals(s.mean for s in summaries)
    settings = _settings(rows)
    columns = {"n": [str(s.n) for s in summaries]}
    for setting in settings or [None]:
        header = spec.metric + (f" ({setting})" if len(settings) > 1 else "")
        columns[header] = [
            mean_and_sd(s, places) if row.setting == setting else MISSING
            for row, s in zip(rows, summaries, strict=True)
        ]
    found = [difference(row, rows, spec) for row in rows]
    if any(found):
        columns[f"difference to {spec.baseline}"] = [
            mean_and_interval(d, places)
            if d
            else "baseline"
            if row.cell == spec.baseline
            else MISSING
            for row, d in zip(rows, found, strict=True)
        ]
    if any(row.losses for row in rows):
        columns["failures"] = [_losses(row) or ("0" if row.lines else MISSING) for row in rows]
    return columns


def _settings(rows: list[Row]) -> list[results.Setting]:
    return list(dict.fromkeys(row.setting for row in rows if row.setting))


def _losses(row: Row) -> str:
    """'1 NaN of 5 (step 1200)': every line that has no figure, by what became of it."""
    steps: dict[str, list[str]] = {}
    for word, line in row.losses:
        steps.setdefault(word, []).append(str(line.get("stopped_step") or ""))
    return ", ".join(
        f"{len(at)} {word} of {len(row.lines)}" + (f" (step {', '.join(at)})" if all(at) else "")
        for word, at in steps.items()
    )


def _paper(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    if not spec.paper:
        return {}
    places = decimals(p.value for p in spec.paper.values())
    unit = f" ({spec.paper_unit})" if spec.paper_unit else ""
    found = [spec.paper.get(row.cell) for row in rows]
    columns = {
        f"paper{unit}": [
            (
                number(p.value, places)
                + (f" ± {number(p.sd, places)}" if p.sd == p.sd else "")
                + (f" (n = {p.n})" if p.n > 1 else "")
            )
            if p
            else MISSING
            for p in found
        ]
    }
    if spec.paper_comparable:
        means = [statistics.summary(row.values.values()).mean for row in rows]
        columns["ours − paper"] = [
            number(m - p.value, places, True) if p else MISSING
            for m, p in zip(means, found, strict=True)
        ]
    return columns


def _extra(rows: list[Row], spec: Spec) -> dict[str, list[str]]:
    columns = {}
    for name in spec.columns:
        if name in ("test", "bits_per_byte", "word_perplexity"):
            split, metric = ("test", spec.metric) if name == "test" else (spec.split, name)
            found = [results.rows(row.lines, (), split, metric) for row in rows]
            places = decimals(v for parts in found for r in parts for v in r.values.values())
            mixed = name == "test" and len(_settings([r for parts in found for r in parts])) > 1
            columns[name.replace("_", " ")] = [
                "; ".join(
                    mean_and_sd(statistics.summary(r.values.values()), places)
                    + f" ({r.setting})" * mixed
                    for r in parts
                )
                or MISSING
                for parts in found
            ]
        elif name != "order":
            columns[name.replace(".", ": ").replace("_", " ")] = [
                f"{value:,.0f}" if (value := constant(row, name)) == value else MISSING
                for row in rows
            ]
    return columns


def constant(row: Row, name: str) -> float:
    """The mean over lines of a number such as 'parameters.unique'; nan where none has it."""
    values = []
    for line in row.lines:
        for part in name.split("."):
            line = line.get(part) if isinstance(line, Mapping) else None
        values += [line] if line else []
    return statistics.summary(values).mean


def _against(rows: list[Row], other: list[Row], spec: Spec, name: str) -> dict[str, list[str]]:
    places = decimals(v for row in other for v in row.values.values())
    theirs, differences = [], []
    for row in rows:
        matches = sorted(
            (o for o in other if o.cell == row.cell),
            key=lambda o: (o.device != row.device, o.setting != row.setting),
        )
        if not matches:
            theirs.append(MISSING)
            differences.append(MISSING)
            continue
        match = matches[0]
        words = [str(match.setting)] * (match.setting != row.setting)
        words += [match.device] * (match.device != row.device)
        theirs.append(
            mean_and_sd(statistics.summary(match.values.values()), places)
            + (f" ({', '.join(words)})" if words else "")
        )
        pairs = statistics.paired_difference(row.values, match.values)
        reason = "other setting" if match.setting != row.setting else "other corpus"
        same = match.setting == row.setting and _corpora(match) == _corpora(row)
        differences.append(
            (mean_and_interval(pairs, places) if pairs.n else MISSING) if same else reason
        )
    return {f"{name}: {spec.metric}": theirs, f"difference to {name}": differences}


def _corpora(row: Row) -> set[str]:
    return {(line.get("corpus") or {}).get("sha256", "") for line in row.lines}


def _caption(rows: list[Row], spec: Spec) -> list[str]:
    settings, shown = _settings(rows), [d for row in rows if (d := difference(row, rows, spec))]
    where = f" ({settings[0]})" if len(settings) == 1 else ""
    notes = [
        f"{spec.metric}{where}: mean ± SD with n − 1; "
        f"{'lower' if spec.lower_is_better else 'higher'} is better."
    ]
    if "test" in spec.columns:
        lines = [line for row in rows for line in row.lines]
        tests = _settings(results.rows(lines, (), "test", spec.metric))
        notes += [f"test: {spec.metric} ({'; '.join(map(str, tests))})."] if tests else []
    if shown:
        notes.append(
            "Differences are paired by seed, with the 95 % Student t interval; * where it "
            f"excludes 0 ({len(shown)} comparison(s), not corrected for their number)."
        )
    elif spec.baseline:
        notes.append(f"No differences to {spec.baseline}: that takes two seeds in common.")
    if any(1 < len(row.values) < FEW for row in rows):
        notes.append(
            f"Under {FEW} seeds: intervals are Student t and wide; every seed is in the "
            "figure and in runs.jsonl."
        )
    if not any(row.lines for row in rows):
        notes.append("No runs yet.")
    return notes


def _paper_notes(spec: Spec) -> list[str]:
    if not spec.paper:
        return []
    return [
        f"Paper: {spec.paper_label or 'source not given'}."
        + ("" if spec.paper_comparable else " Measured otherwise than ours, so not subtracted.")
    ]


def _loss_notes(rows: list[Row]) -> list[str]:
    where: dict[str, list[str]] = {}
    for row in rows:
        for word, line in row.losses:
            error = (str(line.get("error") or "").strip().split("\n") or [""])[-1][:120]
            if error:
                where.setdefault(f"{word}: {error}", []).append(f"{row.cell} seed {line['seed']}")
    lost = sum(len(row.losses) for row in rows)
    head = [f"Means leave out {lost} run(s) without a figure, counted under failures."]
    return head * bool(lost) + [f"{what} ({', '.join(runs)})" for what, runs in where.items()]


def _ranges(seeds: list[int]) -> str:
    """0–4, 100–104: sorted numbers, consecutive ones as a range."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _command(experiment: Mapping[str, Any]) -> str:
    """The command line that makes these results again; '' where the experiment is not known."""
    if not experiment.get("config"):
        return ""
    config = experiment["config"] + f":{experiment['argument']}" * bool(experiment.get("argument"))
    options = [
        f"--config={config}",
        *(
            f"--config.{name}={tuple(v) if isinstance(v, list) else v}"
            for name, v in (experiment.get("overrides") or {}).items()
        ),
    ]
    return shlex.join(["python", "launch.py", "sweep", *options])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number(value, decimals([value]))
    return MISSING if value is None else str(value)


def console(table: Table, to=None) -> None:
    """Prints the table with rich; `to` is a rich Console, standard output by default."""
    from rich.console import Console
    from rich.table import Table as Rich
    from rich.text import Text

    to = to or Console()
    for grid in (table.main, *table.sections):
        grid, left_out = _fitting(grid, to.width)
        shown = Rich(title=Text(grid.title), title_justify="left")
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
    """The grid without its rightmost columns after the fifth, and order, if it is too wide."""
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
    """Which columns hold numbers: all entries start with a digit, a sign or are missing."""
    return [
        all(re.match(rf"[−+]?\d|{MISSING}|baseline|$", row[i]) for row in grid.rows)
        and grid.columns[i] not in ("cell", "order")
        for i in range(len(grid.columns))
    ]


def to_markdown(table: Table, figure: str = "") -> str:
    """The whole report; columns are padded, so that it reads well raw too."""
    title = _md(table.main.title)
    blocks = [f"# {title}", _md_grid(table.main)]
    blocks += [f"![{title}]({figure})"] if figure else []
    blocks += ["\n".join(f"- {_md(note)}" for note in table.notes)]
    for grid in table.sections:
        blocks += [f"## {_md(grid.title)}", _md_grid(grid), *([_md(grid.note)] * bool(grid.note))]
    if table.command:
        blocks += ["To make it again:", f"```sh\n{table.command}\n```"]
    return "\n\n".join(blocks) + "\n"


def _md_grid(grid: Grid) -> str:
    lines = [[_md(cell) for cell in line] for line in (grid.columns, *grid.rows)]
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


def _md(text: str) -> str:
    """Escapes what Markdown would read as markup; _ and * only where they could be emphasis."""
    text = re.sub(r"([\\|`<>~$]|\](?=[(\[:])|&(?=#?\w+;))", r"\\\1", " ".join(text.split()))
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
    return re.sub(r"\*(?=\S)|(?<=\S)\*", r"\\*", text)


def to_csv(table: Table) -> str:
    """A line a row with every digit, and empty where there is no number; units as in the spec."""
    spec, file = table.spec, io.StringIO()
    extra = [c for c in COLUMNS if "." in c or c.endswith("_token") or c.endswith("_second")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "cell",
            "device",
            "hash",
            "order",
            "split",
            "unit",
            "window",
            "stride",
            "metric",
            "n",
            "mean",
            "sd",
            "low",
            "high",
            "pairs",
            "difference",
            "difference_low",
            "difference_high",
            "lost",
            "revisions",
            "paper",
            "paper_sd",
            "paper_n",
            *extra,
        ]
    )
    for row in table.rows:
        s = statistics.summary(row.values.values())
        d = difference(row, table.rows, spec) or statistics.summary([])
        order = row.lines[0].get("order", "") if row.lines else ""
        revisions = dict.fromkeys(results.revision(line) for line in row.lines)
        cells = [
            row.cell,
            row.device,
            row.hash,
            order,
            *(row.setting or (spec.split, "", "", "")),
            spec.metric,
            *s,
            d.n,
            d.mean,
            d.low,
            d.high,
            _losses(row),
            " ".join(revisions),
            *spec.paper.get(row.cell, ("", "", "")),
            *(constant(row, c) for c in extra),
        ]
        writer.writerow(["" if cell != cell else cell for cell in cells])
    return file.getvalue()


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


def to_latex(table: Table) -> str:
    """One `table` environment a grid, for the package booktabs; the notes in small print."""
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


def to_html(table: Table, plot: Any = None) -> str:
    """One file with everything in it, plotly included; `plot` is a plotly figure or None."""
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
    body += [f"<pre>{html.escape(table.command)}</pre>"] if table.command else []
    return PAGE.format(title=html.escape(table.main.title), body="\n".join(body))
