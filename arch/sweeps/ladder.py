"""A ladder: values of one field, of which each arm takes its best, chosen on pilot seeds.

One value for all arms favours the arm that it suits. `ladder` makes of each arm a pilot cell for
every value; once these have ended, the arm itself with the value of the best mean, on its own
seeds. Pilot seeds choose and are in no other figure: the best of several is better than it will be
again. An experiment's `cells` may return `ladder(…)`, since it is asked again while results come:

    def cells(arg, results):
        arms = [Cell("pre", {}), Cell("post", {"model.stack.norm": "post"})]
        return ladder(arms, "train.optimizer.learning_rate", (5e-4, 1e-3), (100, 101), results)

On the command line it is --ladder=train.optimizer.learning_rate=5e-4,1e-3 --pilot=100-101.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from arch.registry import ConfigurationError
from arch.report.seeds import both
from arch.report.specification import TableSpec
from arch.sweeps.cells import Cell, Results, Rung


@dataclasses.dataclass(frozen=True)
class Ladder:
    """A ladder of the command line: a field, its values as they were typed, and pilot seeds."""

    field: str
    values: tuple[str, ...]
    pilot: tuple[int, ...]

    @classmethod
    def of(cls, held: Mapping[str, Any] | None) -> "Ladder | None":
        """The ladder that `dataclasses.asdict` made `held` of; None of None."""
        if held is None:
            return None
        return cls(held["field"], tuple(held["values"]), tuple(held["pilot"]))

    def cells(self, arms: Sequence[Cell], results: Results, table: Mapping[str, Any]) -> list[Cell]:
        """`ladder` of the arms, by the metric of their table."""
        spec = TableSpec.of(table)
        return ladder(
            arms, self.field, self.values, self.pilot, results,
            metric=spec.metric, split=spec.split, lower_is_better=spec.lower_is_better,
        )  # fmt: skip


def ladder(
    arms: Sequence[Cell],
    field: str,
    values: Sequence[object],
    pilot: Sequence[int],
    results: Results,
    *,
    metric: str = "",
    split: str = "",
    lower_is_better: bool = True,
) -> list[Cell]:
    """The pilot cells of each arm, then the arm with its best value where its pilots have ended.

    An arm none of whose values has finished every pilot seed is left out. Values that diverge or go
    NaN are not chosen; of equally good ones, as where all get everything right, the one of the
    least loss is.

    Args:
        field: dotted, one that no arm sets itself.
        values: of the field, in their order.
        pilot: seeds that no arm has.
        metric, split: what the best is by; empty for the table's own, as in `Results.values`.

    Raises ConfigurationError where an arm sets the field, or a pilot lacks the metric.
    """
    texts, made = tuple(map(str, values)), []
    for arm in arms:
        if field in {**arm.overrides, **arm.typed}:
            raise ConfigurationError(f"ladder of {field}: cell {arm.name} sets this field itself")
        rung = Rung(arm.name, field, "", texts, tuple(pilot), arm.seeds, metric, split)
        pilots = [_at(arm, dataclasses.replace(rung, value=text, pilot=True)) for text in texts]
        made += pilots
        if all(results.ended(cell.name, cell.seeds) for cell in pilots):
            sign = 1 if lower_is_better else -1
            found = [(_rank(cell, results, sign), cell.typed[field]) for cell in pilots]
            whole = [pair for pair in found if math.isfinite(pair[0][0])]
            if whole:
                _, best = min(whole, key=lambda pair: pair[0])  # of equal ones the first
                made.append(_at(arm, dataclasses.replace(rung, value=best)))
    return made


def _at(arm: Cell, rung: Rung) -> Cell:
    """The arm with a value: a pilot under a name that says it, the chosen one under its own."""
    typed = {**arm.typed, rung.field: rung.value}
    if not rung.pilot:
        return dataclasses.replace(arm, typed=typed, rung=rung)
    name = f"{arm.name}-{rung.field.rpartition('.')[2]}={rung.value.replace(' ', '')}"
    return dataclasses.replace(arm, name=name, typed=typed, seeds=rung.seeds, rung=rung)


def _lines(cell: Cell, results: Results) -> list[dict]:
    """The lines of a pilot, of its seeds; an earlier sweep may have had others."""
    return [x for x in results.lines() if x["cell"] == cell.name and x["seed"] in cell.seeds]


def _rank(cell: Cell, results: Results, sign: int) -> tuple[float, float]:
    """(sign · the mean figure, the mean loss) of a pilot, the best lowest; nan where a seed has
    diverged or gone NaN."""
    lines, rung = _lines(cell, results), cell.rung
    if rung is None or any(line["status"] != "finished" for line in lines):
        return math.nan, math.nan
    figures = _figures(cell, results, rung.metric, rung.split)
    if not figures:
        raise ConfigurationError(
            f"ladder of {rung.field}: {cell.name} has no {rung.metric or 'figure'} on "
            f"{rung.split or 'the split of the table'} to choose by"
        )
    losses = _figures(cell, results, "loss", rung.split) or [0.0]
    return sign * statistics.fmean(figures), statistics.fmean(losses)


def _figures(cell: Cell, results: Results, metric: str, split: str) -> list[float]:
    values = results.values(cell.name, metric, split)
    return [value for seed, value in values.items() if both(seed)[0] in cell.seeds]
