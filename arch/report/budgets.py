"""Arms at equal tokens, FLOPs or CPU seconds, and their learning curves, from curves.jsonl."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from arch.report.columns import MISSING, compared_columns
from arch.report.comparisons import compare
from arch.report.curves import Curve
from arch.report.learning import SPLITS, LearningCurves
from arch.report.lines import Line, key
from arch.report.rows import Row
from arch.report.seeds import Seed, line_seed
from arch.report.specification import BUDGETS, TableSpec
from arch.report.statistics import mean_and_sd, summary

Arm = tuple[Row, dict[Seed, Curve]]  # a row, and the curves of its finished seeds


def arms(rows: Iterable[Row], curves: Iterable[Line], split: str = "valid") -> list[Arm]:
    """The rows that have curves, with those of a split by seed; what did not finish has none."""
    by_key = {key(line): line for line in curves}
    found = []
    for row in rows:
        finished = [line for line in row.lines if line["status"] == "finished"]
        there = [line for line in finished if key(line) in by_key]
        own = {line_seed(line): Curve.of(by_key[key(line)], split) for line in there}
        if own:
            found.append((row, own))
    return found


def equal_section(
    found: Sequence[Arm], budget: str, spec: TableSpec, untrained: frozenset[str]
) -> dict[str, Any]:
    """A section of the arms' losses where all had spent as much of a budget, one of BUDGETS.

    The amount is the largest that every seed of every arm reached, among the arms on one kind of
    device and with the same varied fields. Differences are paired by seed.
    """
    known = [(row, own) for row, own in found if all(c.spent(budget) for c in own.values())]
    amounts: dict[tuple, float] = {}
    for row, own in known:
        least = min(curve.spent(budget)[-1] for curve in own.values())
        kind = row.device, row.varied
        amounts[kind] = min(amounts.get(kind, least), least)
    at = [amounts[row.device, row.varied] for row, _ in known]
    pairs = zip(known, at, strict=True)
    rows = [replace(row, values=_at(own, budget, amount)) for (row, own), amount in pairs]
    summaries = [summary(row.values.values()) for row in rows]
    columns = {
        "cell": [row.cell for row in rows],
        BUDGETS[budget]: [f"{amount:.4g}" for amount in at],
        "n": [str(s.n) for s in summaries],
        "valid loss": [mean_and_sd(s, 4) if s.n else MISSING for s in summaries],
        **compared_columns(rows, spec, compare(rows, spec, untrained), untrained),
    }
    return {
        "title": f"At equal {BUDGETS[budget]}",
        "columns": list(columns),
        "rows": [list(row) for row in zip(*columns.values(), strict=True)],
        "note": "Loss in nats on the part of the validation split that is evaluated in training, "
        f"where every seed of every arm had spent as many {BUDGETS[budget]}, interpolated "
        "linearly between evaluations; differences as in the table above."
        + " Those of training are three times the forward pass's."
        * (budget == "flops"),
    }


def learning_curves(rows: Sequence[Row], curves: Sequence[Line]) -> LearningCurves:
    """Both losses of the rows' seeds, to be drawn."""
    found: dict[str, dict[str, list[Curve]]] = {}
    for split in SPLITS:
        arms_of_split = arms(rows, curves, split)
        several = len({row.cell for row, _ in arms_of_split}) < len(arms_of_split)
        for row, own in arms_of_split:
            label = f"{row.cell}, {row.device}, {row.hash[:8]}" if several else row.cell
            found.setdefault(label, {})[split] = list(own.values())
    return LearningCurves(found)


def _at(own: Mapping[Seed, Curve], budget: str, amount: float) -> dict[Seed, float]:
    losses = {seed: curve.loss_at(budget, amount) for seed, curve in own.items()}
    return {seed: loss for seed, loss in losses.items() if loss is not None}
