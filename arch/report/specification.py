"""An experiment's TABLE, checked: which metric, against which baseline, beside which paper."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

CPU = "cpu_seconds_per_million_tokens"
BUDGETS = {"tokens": "tokens", "flops": "training FLOPs", "cpu_seconds": "CPU seconds"}
COLUMNS = (
    "order",
    "parameters.unique",
    "parameters.applied",
    "flops_per_token",
    "tokens_per_second",
    CPU,
    "bits_per_byte",
    "word_perplexity",
    "test",
)


class PaperFigure(NamedTuple):
    """A published figure: its value, and SD and number of runs where the paper gives them.

    n is 0 where the paper does not say how many runs a figure is of.
    """

    value: float
    sd: float = math.nan
    n: int = 0


@dataclass(frozen=True)
class TableSpec:
    """An experiment's TABLE with its defaults filled in; made by `TableSpec.of`, which checks it.

    Attributes:
        title: the heading; the folder's name where it is ''.
        metric: a name in an evaluation, and whether lower_is_better.
        split: the evaluation that has the metric.
        baseline: the cell that others are compared with, or ''.
        x: cell → number, the figure's horizontal axis, called x_label.
        paper: cell → published figure, shown beside ours, from paper_label.
        paper_metric: what the paper's figures are, where they are not the metric.
        paper_unit: the unit of the paper's metric, where it is not ours.
        paper_comparable: True where the two may be subtracted.
        exact: True for figures that no seed changes; they have no n and no spread.
        columns: extra columns, of COLUMNS.
        equal: budgets at which arms are compared as well, where there are learning curves: tokens,
            flops or cpu_seconds.
        sections: more tables, each {title, columns, rows, note}; see `arch.report.sections`.
        charts: more pictures; see `arch.report.charts`.
    """

    title: str = ""
    metric: str = "perplexity"
    lower_is_better: bool = True
    split: str = "valid"
    baseline: str = ""
    x: Mapping[str, float] = field(default_factory=dict)
    x_label: str = ""
    paper: Mapping[str, PaperFigure] = field(default_factory=dict)
    paper_label: str = ""
    paper_metric: str = ""
    paper_unit: str = ""
    paper_comparable: bool = False
    exact: bool = False
    columns: Sequence[str] = ()
    equal: Sequence[str] = ()
    sections: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "TableSpec":
        """Raises ValueError for a field, a column or an entry of `paper` that is not known."""
        _check_names("table", table, [f.name for f in fields(cls)])
        _check_names("table.columns", table.get("columns", ()), COLUMNS)
        _check_names("table.equal", table.get("equal", ()), list(BUDGETS))
        paper = {}
        for cell, entry in (table.get("paper") or {}).items():
            entry = entry if isinstance(entry, Mapping) else {"value": entry}
            _check_names(f"table.paper[{cell!r}]", entry, PaperFigure._fields)
            paper[cell] = PaperFigure(**entry)
        return cls(**{**table, "paper": paper, "x": table.get("x") or {}})


def _check_names(where: str, names: Iterable[str], allowed: Sequence[str]) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{where}: {name!r} is not known; allowed: {', '.join(allowed)}")
