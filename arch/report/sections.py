"""The sections of an experiment's table: rows of means over seeds, differences, published figures.

An experiment's TABLE(arg, cells, results) makes its sections from these; `results` is what it was
given. A section is {title, columns, rows, note}: texts, which every renderer shows as they are.

    columns = [Mean("hidden tokens, %", "accuracy", "test", places=1, scale=100)]
    means_by_cell("Accuracies", results, cells, columns)
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from arch.report import statistics
from arch.report.columns import MISSING
from arch.report.seeds import Seed
from arch.report.statistics import Summary


class SeedFigures(Protocol):
    """What is asked of an experiment's results."""

    def values(self, cell: str, metric: str = "", split: str = "") -> dict[Seed, Any]:
        """seed → figure of a cell's finished seeds; the table's own metric and split for ''."""
        ...


class NamedCell(Protocol):
    """What is asked of an experiment's cell: its name."""

    @property
    def name(self) -> str:
        """The name that its results carry."""
        ...


class Mean(NamedTuple):
    """A column: the mean ± SD over seeds of a metric on a split ('': the table's own).

    places: decimals. scale: what figures are multiplied by, for example 100 for percent.
    """

    header: str
    metric: str = ""
    split: str = ""
    places: int = 3
    scale: float = 1.0

    def summary(self, results: SeedFigures, cell: str) -> Summary:
        """Mean, SD and number of the cell's finished seeds."""
        values = results.values(cell, self.metric, self.split).values()
        return statistics.summary(self.scale * value for value in values)

    def text(self, results: SeedFigures, cell: str) -> str:
        """'18.65 ± 0.34'; '18.65 (single run)'; '—' where no seed has finished."""
        return statistics.mean_and_sd(self.summary(results, cell), self.places)


def mean_text(
    results: SeedFigures, cell: str, metric: str = "", split: str = "", places: int = 3
) -> str:
    """'18.65 ± 0.34' of one cell, as a column `Mean` has it."""
    return Mean("", metric, split, places).text(results, cell)


def difference_text(
    ours: Mapping[Seed, float], baseline: Mapping[Seed, float], places: int = 3
) -> str:
    """'−0.67 [−1.02, −0.31] *': ours − baseline paired by seed; '—' without a seed in common."""
    difference = statistics.paired_difference(ours, baseline)
    return statistics.mean_and_interval(difference, places) if difference.n else MISSING


def number_text(value: float | None, form: str) -> str:
    """The value as Python's format `form` has it, for example '.2f'; '—' for None and nan."""
    return MISSING if value is None or math.isnan(value) else format(value, form)


def means_by_cell(
    title: str,
    results: SeedFigures,
    cells: Iterable[NamedCell],
    columns: Sequence[Mean],
    *,
    first: str = "cell",
    labels: Mapping[str, str] | None = None,
    beside: Mapping[str, Mapping[str, str]] | None = None,
    counted: bool = True,
    note: str = "",
) -> dict[str, Any]:
    """A section with one row per cell: its name, n, and the mean ± SD of each column.

    Args:
        first: the header of the first column.
        labels: cell → what stands there, where that is not the cell's name.
        beside: header → (cell → text) of columns that follow, for example a paper's figures;
            '—' for a cell that such a column lacks.
        counted: whether n is shown, the number of seeds that have the first column's figure.
    """
    labels, beside = labels or {}, beside or {}
    rows = []
    for cell in cells:
        count = [str(columns[0].summary(results, cell.name).n)] if counted else []
        texts = [column.text(results, cell.name) for column in columns]
        more = [texts_of.get(cell.name, MISSING) for texts_of in beside.values()]
        rows.append([labels.get(cell.name, cell.name), *count, *texts, *more])
    headers = [first, *(["n"] if counted else []), *(column.header for column in columns), *beside]
    section = {"title": title, "columns": headers, "rows": rows}
    return {**section, "note": note} if note else section
