"""The table of an experiment: its rows, columns and notes. `arch.report.renderers` prints it.

A row holds what may be averaged (`rows.Row`): one cell, configuration, device kind and way of
measuring. A NaN is a result and is counted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arch.report import budgets, columns
from arch.report.again import again, asked_for
from arch.report.charts import Chart
from arch.report.claims import Judged, judge_lines, verdict_section
from arch.report.columns import MISSING, settings_of
from arch.report.comparisons import Comparison, compare, untrained_cells
from arch.report.curves import read_curves
from arch.report.ladders import (
    chosen_columns,
    ladder_notes,
    ladder_sections,
    pilots,
    reported,
)
from arch.report.learning import LearningCurves
from arch.report.lines import (
    Line,
    from_older_numerics,
    from_other_code,
    provenance,
    read_experiment,
    read_lines,
    revision,
)
from arch.report.norms import norm_charts
from arch.report.rows import Row, group_rows
from arch.report.seeds import Seed, both, line_seed
from arch.report.specification import TableSpec
from arch.report.spread import said_seeds, seed_notes, spread_section
from arch.report.statistics import decimals, number
from arch.report.verdicts import UNTESTED

FEW = 5  # under so many seeds a table says how wide its intervals are


@dataclass(frozen=True)
class Grid:
    """A table of strings; every renderer escapes them for itself."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """True for each column of numbers: all start with a digit or a sign, or are missing."""
        return [
            all(re.match(rf"[−+]?\d|{MISSING}|baseline|$", row[i]) for row in self.rows)
            and self.columns[i] not in ("cell", "order")
            for i in range(len(self.columns))
        ]


@dataclass(frozen=True)
class ResultTable:
    """The main grid, sections, notes with provenance, pictures, and the command line."""

    name: str
    spec: TableSpec
    rows: tuple[Row, ...]
    compared: tuple[Comparison | None, ...]
    main: Grid
    sections: tuple[Grid, ...]
    notes: tuple[str, ...]
    verdicts: tuple[Judged, ...]
    charts: tuple[Chart | LearningCurves, ...]
    command: str


def tabulate(folder: Path, against: Path | None = None) -> ResultTable:
    """The table of a results folder; nothing is written.

    against: another results folder, whose figures stand beside these.
    Raises ValueError for a damaged file or an entry of TABLE that is not known.
    """
    experiment, every = read_experiment(folder), read_lines(folder)
    lines = reported(experiment, every)
    spec = TableSpec.of(experiment.get("table") or {})
    varied = experiment.get("varied") or {}
    rows = group_rows(lines, _cells_of(experiment), spec.split, spec.metric, varied)
    name, foreign = folder.resolve().name, from_other_code(lines)
    untrained = untrained_cells(rows, spec.split, experiment.get("trivial") or {})
    compared = compare(rows, spec, untrained)
    notes = [
        *_caption(rows, spec),
        *_difference_notes(rows, spec, compared),
        *_untrained_notes(untrained),
        *_selection_notes(experiment, spec),
        *ladder_notes(experiment),
        *_paper_notes(spec),
        *_loss_notes(rows),
        *_run_notes(lines),
    ]
    older = from_older_numerics(lines, experiment.get("numerics") or {})
    notes += [*_foreign_notes(foreign), *_older_notes(older)]
    found = columns.make_columns(rows, _marks(foreign, older), spec, compared, untrained)
    found = {"cell": found["cell"], **chosen_columns(experiment, rows), **found}
    if against:
        other = group_rows(read_lines(against), (), spec.split, spec.metric)
        found |= columns.beside(rows, other, spec, against.resolve().name)
        notes += _absent_notes(against.resolve().name, other, rows)
    notes += seed_notes(map(line_seed, lines))
    notes += [f"{label}: {text}" for label, text in provenance(lines)]
    main = Grid(spec.title or name, tuple(found), tuple(zip(*found.values(), strict=True)))
    verdicts = _verdicts_of(folder.name, experiment, lines)
    curves = read_curves(folder)
    curved = budgets.arms(rows, curves)
    spread = spread_section(rows)
    sections = [
        *spec.sections,
        *ladder_sections(experiment, every, spec),
        *(budgets.equal_section(curved, one, spec, untrained) for one in spec.equal if curved),
        *([spread] if spread else []),
        *([verdict_section(verdicts)] if verdicts else []),
    ]
    curve_charts = (budgets.learning_curves(rows, curves), *norm_charts(rows, curves))
    charts = (*map(Chart.of, spec.charts), *curve_charts)
    return ResultTable(
        name,
        spec,
        tuple(rows),
        tuple(compared),
        main,
        tuple(map(_section, sections)),
        tuple(notes),
        tuple(verdicts),
        tuple(chart for chart in charts if not chart.empty),
        again(experiment),
    )


def _cells_of(experiment: Mapping) -> list[str]:
    """The cells that have rows whether they have lines or not: no pilots, none that `--cells` left
    out."""
    cells = [c for c in experiment.get("cells", ()) if c not in pilots(experiment)]
    return [cell for cell in cells if asked_for(experiment, cell)]


def _verdicts_of(name: str, experiment: Mapping, lines: Sequence[Line]) -> list[Judged]:
    """The verdicts, without those that wait for cells that nobody asked for."""

    def wanted(one: Judged) -> bool:
        of_asked = all(asked_for(experiment, cell) for cell in one.verdict.claim.contrast)
        return of_asked or one.verdict.verdict != UNTESTED

    return [one for one in judge_lines(name, experiment, lines) if wanted(one)]


def _absent_notes(name: str, other: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """Which cells the folder of that name has and this one has not."""
    missing = sorted({r.cell for r in other} - {r.cell for r in rows})
    return [f"Only in {name}: {', '.join(missing)}"] if missing else []


def _marks(foreign: list[Line], older: list[Line]) -> dict[int, str]:
    """id of a line → the marks that its cell bears."""
    marks = {id(line): " †" for line in foreign}
    return marks | {id(line): marks.get(id(line), " ") + "‡" for line in older}


def _foreign_notes(foreign: list[Line]) -> list[str]:
    if not foreign:
        return []
    codes = dict.fromkeys(f"{line['cell']} ({revision(line)})" for line in foreign)
    return [
        "† finished by other code than most of the table, or by uncommitted code: "
        + ", ".join(codes)
    ]


def _section(section: Mapping[str, Any]) -> Grid:
    title, headers = str(section.get("title", "")), tuple(map(str, section.get("columns", ())))
    for row in section.get("rows", ()):
        if len(row) != len(headers):
            raise ValueError(
                f"table.sections {title!r}: a row has {len(row)} entries, "
                f"there are {len(headers)} columns"
            )
    rows = tuple(tuple(map(_plain, row)) for row in section.get("rows", ()))
    return Grid(title, headers, rows, str(section.get("note", "")))


def _caption(rows: list[Row], spec: TableSpec) -> list[str]:
    settings = settings_of(rows)
    where = f" ({settings[0]})" if len(settings) == 1 else ""
    better = "lower" if spec.lower_is_better else "higher"
    spread = "" if spec.exact else "mean ± SD with n − 1; "
    notes = [f"{spec.metric}{where}: {spread}{better} is better."]
    if "test" in spec.columns:
        lines = [line for row in rows for line in row.lines]
        tests = settings_of(group_rows(lines, (), "test", spec.metric))
        notes += [f"test: {spec.metric} ({'; '.join(map(str, tests))})."] if tests else []
    if not spec.exact and any(1 < len(row.values) < FEW for row in rows):
        notes.append(
            f"Under {FEW} seeds: intervals are Student t and wide; every seed is in the "
            "figure and in runs.jsonl."
        )
    if not any(row.lines for row in rows):
        notes.append("No runs yet.")
    return notes


def _difference_notes(
    rows: list[Row], spec: TableSpec, compared: list[Comparison | None]
) -> list[str]:
    count = sum(one is not None for one in compared)
    if not count:
        said = f"No differences to {spec.baseline}: that takes two seeds in common."
        return [said] if spec.baseline and any(row.lines for row in rows) else []
    star = (
        f"* where it excludes 0 after Holm's correction for {count} comparisons, (*) where it does "
        "only without."
        if count > 1
        else "* where it excludes 0."
    )
    return [
        f"Differences are paired by seed, with the plain 95 % Student t interval; {star}",
        "Detectable: the smallest true difference that as many seeds with this spread show in 80 % "
        "of experiments (two-sided, 5 %, uncorrected).",
    ]


def _untrained_notes(untrained: frozenset[str]) -> list[str]:
    if not untrained:
        return []
    return [
        "Untrained, and not compared: the loss is not below that of the frequencies of single "
        f"tokens ({', '.join(sorted(untrained))})."
    ]


def _selection_notes(experiment: Mapping[str, Any], spec: TableSpec) -> list[str]:
    if not spec.split or experiment.get("selected") != spec.split:
        return []
    return [
        f"The weights of each run are those of its lowest loss on {spec.split}, the split shown "
        "here: all figures are a little better than on text that had no part in the choice."
    ]


def _paper_notes(spec: TableSpec) -> list[str]:
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
                where.setdefault(f"{word}: {error}", []).append(
                    f"{row.cell} seed {line_seed(line)}"
                )
    lost = sum(len(row.losses) for row in rows)
    head = [f"Means leave out {lost} run(s) without a figure, counted under failures."]
    return head * bool(lost) + [f"{what} ({', '.join(runs)})" for what, runs in where.items()]


def _run_notes(lines: list[Line]) -> list[str]:
    """Which lines were trained under another name, and which stopped early."""
    return [*_source_notes(lines), *_early_notes(lines)]


def _early_notes(lines: list[Line]) -> list[str]:
    steps: dict[str, list[str]] = {}
    for line in lines:
        if line.get("stopped_early"):
            said = f"{line['stopped_early']:,} (seed {line_seed(line)})"
            steps.setdefault(line["cell"], []).append(said)
    told = "; ".join(f"{cell} at {', '.join(said)}" for cell, said in steps.items())
    why = "their validation loss had not fallen for train.patience evaluations"
    return [f"Stopped early, since {why}: {told}."] if told else []


def _source_notes(lines: list[Line]) -> list[str]:
    seeds: dict[tuple[str, str], list[Seed]] = {}
    for line in lines:
        if line.get("from"):
            seeds.setdefault((line["cell"], line["from"]), []).append(line_seed(line))
    said = [
        f"{cell} is {source} (seeds {said_seeds(sorted(n, key=both))})"
        for (cell, source), n in seeds.items()
    ]
    return [f"One and the same run, trained under another name: {', '.join(said)}."] if said else []


def _older_notes(older: list[Line]) -> list[str]:
    if not older:
        return []
    cells = dict.fromkeys(line["cell"] for line in older)
    return [
        "‡ of before a change of the code's numbers that may touch them: the same run would give "
        f"other bits today, of the same distribution ({', '.join(cells)})"
    ]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return number(value, decimals([value]))
    return MISSING if value is None else str(value)
