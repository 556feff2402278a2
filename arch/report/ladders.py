"""Ladders in a report: the value that each arm was given, and the pilot seeds that chose it.

experiment.json has them as `rungs`: cell → {arm, field, value, values, seeds, metric, split,
pilot}, see `arch.sweeps.cells.Rung`. Lines of pilots are in no table but the ladder's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arch.report.columns import MISSING
from arch.report.lines import Line
from arch.report.rows import Row, group_rows
from arch.report.specification import TableSpec
from arch.report.spread import said_seeds
from arch.report.statistics import decimals, mean_and_sd, summary

Rungs = Mapping[str, Mapping[str, Any]]


def pilots(experiment: Mapping[str, Any]) -> frozenset[str]:
    """The names of the cells that only choose."""
    rungs: Rungs = experiment.get("rungs") or {}
    return frozenset(cell for cell, rung in rungs.items() if rung["pilot"])


def reported(experiment: Mapping[str, Any], lines: Iterable[Line]) -> list[Line]:
    """The lines without those of pilots."""
    left_out = pilots(experiment)
    return [line for line in lines if line["cell"] not in left_out]


def chosen_columns(experiment: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, list[str]]:
    """A column for each field that a ladder chose: the arm's value, and '(end)' where that is the
    least or the largest tried."""
    rungs: Rungs = experiment.get("rungs") or {}
    columns: dict[str, list[str]] = {}
    for place, row in enumerate(rows):
        rung = rungs.get(row.cell)
        if rung:
            name = rung["field"].rpartition(".")[2].replace("_", " ")
            texts = columns.setdefault(name, [MISSING] * len(rows))
            texts[place] = rung["value"] + " (end)" * _at_end(rung)
    return columns


def ladder_notes(experiment: Mapping[str, Any]) -> list[str]:
    """How values were chosen, and of which arms the best may lie beyond those tried."""
    found = (experiment.get("rungs") or {}).values()
    said = dict.fromkeys(
        f"{r['field']}: of {', '.join(r['values'])} each cell has the best on the pilot seeds "
        f"{said_seeds(sorted(r['seeds']))}, which are in no figure but the ladder's."
        for r in found
    )
    ends = [r["arm"] for r in found if not r["pilot"] and _at_end(r)]
    more = f"(end): the best is the ladder's last; a better one may lie beyond ({', '.join(ends)})."
    return [*said, *([more] if ends else [])]


def ladder_sections(
    experiment: Mapping[str, Any], lines: Iterable[Line], spec: TableSpec
) -> list[dict[str, Any]]:
    """A section for each ladder: the figure of every arm at every value, over the pilot seeds."""
    rungs: Rungs = experiment.get("rungs") or {}
    lines, sections = list(lines), []
    tried = {cell: rung for cell, rung in rungs.items() if rung["pilot"]}
    kinds = dict.fromkeys((r["field"], tuple(r["values"])) for r in tried.values())
    for field, values in kinds:
        own = {
            c: r for c, r in tried.items() if (r["field"], tuple(r["values"])) == (field, values)
        }
        chosen = {r["arm"]: r["value"] for r in rungs.values() if not r["pilot"]}
        rows: dict[str, dict[str, str]] = {}
        for cell, rung in own.items():
            text = _figure([x for x in lines if x["cell"] == cell], rung, spec)
            mark = " (chosen)" if chosen.get(rung["arm"]) == rung["value"] else ""
            rows.setdefault(rung["arm"], {})[rung["value"]] = text + mark
        first = next(iter(own.values()))
        metric, split = first["metric"] or spec.metric, first["split"] or spec.split
        sections.append(
            {
                "title": f"Ladder of {field}",
                "columns": ["cell", *values],
                "rows": [[arm, *(texts[value] for value in values)] for arm, texts in rows.items()],
                "note": f"{metric} ({split}) on the pilot seeds alone, mean ± SD.",
            }
        )
    return sections


def _figure(lines: Sequence[Line], rung: Mapping[str, Any], spec: TableSpec) -> str:
    own = [line for line in lines if line["seed"] in rung["seeds"]]
    rows = group_rows(own, (), rung["split"] or spec.split, rung["metric"] or spec.metric)
    if not rows:
        return MISSING
    row = rows[0]
    if row.losses:
        return ", ".join(dict.fromkeys(word for word, _ in row.losses))
    return mean_and_sd(summary(row.values.values()), decimals(row.values.values()))


def _at_end(rung: Mapping[str, Any]) -> bool:
    """Whether the value is the least or the largest; False where they are no numbers."""
    try:
        tried = sorted(map(float, rung["values"]))
    except ValueError:
        return False
    return float(rung["value"]) in (tried[0], tried[-1])
