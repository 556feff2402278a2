"""Each row of a table against the baseline: paired difference, corrected p, what could be seen."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from arch.report import inference, statistics
from arch.report.rows import Row, measured
from arch.report.specification import TableSpec
from arch.report.statistics import Summary, mean_and_interval

LOSS = "loss"  # nats a token: what a trivial predictor is compared by
LEARNED = 0.99  # of a trivial predictor's loss: what is not below that has learned nothing


class Comparison(NamedTuple):
    """A row minus the baseline.

    difference: paired by seed, with its plain 95 % interval.
    p: adjusted for the number of comparisons in the table (Holm 1979).
    detectable: the smallest true difference that these seeds show with a chance of 80 %.
    """

    difference: Summary
    p: float
    detectable: float

    def text(self, places: int) -> str:
        """'−0.67 [−1.02, −0.31] *'; the star in brackets where the correction takes it away."""
        plain = mean_and_interval(self.difference, places)
        if not plain.endswith("*") or self.p <= inference.ALPHA:
            return plain
        return f"{plain[:-1]}(*)"


def compare(
    rows: Sequence[Row], spec: TableSpec, untrained: frozenset[str] = frozenset()
) -> list[Comparison | None]:
    """A comparison for each row; None for the baseline, with fewer than two pairs, and for the
    cells in `untrained`, which say nothing of their architecture."""
    found = [
        None if {row.cell, spec.baseline} & untrained else _difference(row, rows, spec)
        for row in rows
    ]
    adjusted = iter(inference.holm([inference.p_value(d) for d in found if d]))
    return [
        d and Comparison(d, next(adjusted), inference.detectable_difference(d.sd, d.n))
        for d in found
    ]


def baseline(row: Row, rows: Iterable[Row], spec: TableSpec) -> Row | None:
    """The baseline's row on the device, in the setting and with the varied fields of `row`; None
    unless it is one row."""
    found = [
        r
        for r in rows
        if r.cell == spec.baseline
        and r.values
        and (r.device, r.setting, r.varied) == (row.device, row.setting, row.varied)
    ]
    return found[0] if len(found) == 1 else None


def _difference(row: Row, rows: Iterable[Row], spec: TableSpec) -> Summary | None:
    base = baseline(row, rows, spec)
    if base is None or row.cell == spec.baseline:
        return None
    pairs = statistics.paired_difference(row.values, base.values)
    return pairs if pairs.n > 1 else None


def untrained_cells(
    rows: Iterable[Row], split: str, trivial: Mapping[str, Mapping[str, float]]
) -> frozenset[str]:
    """The cells whose mean loss is not below that of a trivial predictor by a hundredth of it.

    Args:
        trivial: cell → split → nats a token of that predictor, as `Task.unigram_loss` has them.
    """
    found = set()
    for row in rows:
        limit = trivial.get(row.cell, {}).get(split)
        losses = [f.value for line in row.lines if (f := measured(line, split, LOSS))]
        if limit is not None and losses and sum(losses) / len(losses) > LEARNED * limit:
            found.add(row.cell)
    return frozenset(found)
