"""Where the spread of crossed seeds comes from: a section of a table, and what its notes say."""

from collections.abc import Iterable, Sequence
from typing import Any

from arch.report.crossed import complete_grid, decompose
from arch.report.rows import Row
from arch.report.seeds import Apart, Seed, both
from arch.report.statistics import decimals, number

HEADERS = ("cell", "seeds", "initialisation", "p", "data", "p", "rest")


def spread_section(rows: Iterable[Row]) -> dict[str, Any] | None:
    """A row for each cell whose seeds of initialisation and data are crossed; None without any."""
    found = [_texts(row) for row in rows if row.values]
    texts = [row for row in found if row]
    if not texts:
        return None
    return {
        "title": "Where the spread comes from",
        "columns": list(HEADERS),
        "rows": texts,
        "note": "Standard deviations, and their shares of the joint variance, by a two-way "
        "random-effects analysis of variance, one run for each pair of seeds; an estimate below 0 "
        "is 0. The rest is what neither seed explains alone. p: F tests of no spread at all.",
    }


def seed_notes(seeds: Iterable[Seed]) -> list[str]:
    """Which seeds there are, and how differences take crossed ones."""
    ordered = sorted(set(seeds), key=both)
    if not ordered:
        return []
    said = [f"Seeds: {said_seeds(ordered)}"]
    if any(isinstance(seed, Apart) for seed in ordered):
        said.append(
            "Seeds of initialisation and data are crossed, as 3x5: differences are paired by both, "
            "over the largest complete crossing; their error is that of a two-way random-effects "
            "model, since runs that share a seed are not independent."
        )
    return said


def said_seeds(seeds: Sequence[Seed]) -> str:
    """'0–4, 100–104', of seeds in order: consecutive plain ones as a range; '0x1' as it is."""
    parts: list[list[Seed]] = []
    for seed in seeds:
        last = parts[-1][-1] if parts else None
        if isinstance(seed, int) and isinstance(last, int) and seed == last + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def _texts(row: Row) -> list[str]:
    """The section's row; [] where the seeds are not crossed."""
    grid = complete_grid(row.values)
    if not grid.crossed:
        return []
    found = decompose(grid.values)
    places = decimals(found[:3])
    init, data, rest = (
        number(sd, places) + f" ({100 * share:.0f} %)" * (share == share)
        for sd, share in zip(found[:3], found.shares, strict=True)
    )
    size = f"{len(grid.inits)} × {len(grid.datas)}"
    return [row.cell, size, init, f"{found.p_init:.3f}", data, f"{found.p_data:.3f}", rest]
