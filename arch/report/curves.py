"""The file `results/<name>/curves.jsonl`: thinned learning curves beside the lines of runs.jsonl.

One line per (cell hash, seed, device kind), sealed:

    cell hash seed (data_seed) device   tokens_per_step   flops_per_token (forward)
    train   step, loss, cpu_seconds: about 32 points evenly apart in the logarithm of the step; each
            loss is the mean over the steps since the point before
    valid   the same of every evaluation, the loss of the parameters at that step; of more than 64
            evaluations, 64
    norms   with log.norms: name → number at each position of the order, of the last line logged

Losses are in nats and have six digits; cpu_seconds are those of training up to a point, null where
part of the run did not count them.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arch.report.jsonl import read_objects, write_objects
from arch.report.lines import Line, key
from arch.report.seals import SEAL, sealed
from arch.report.seeds import line_seed, seed_fields

CURVES = "curves.jsonl"
TRAINING_POINTS, EVALUATIONS = 32, 64
BACKWARD = 3  # a step of training takes so many forward passes: one, and two backward
REQUIRED = {
    "cell": str, "hash": str, "seed": int, "device": str, "tokens_per_step": float,
    "flops_per_token": int, "train": dict, "valid": dict, SEAL: str,
}  # fmt: skip


def curve_line(
    summary: Line, metrics: Sequence[Mapping[str, Any]], timing: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """The line of a replica; None where it took no step.

    Args:
        summary: its line of runs.jsonl.
        metrics, timing: the lines of its metrics.jsonl and timing.jsonl.
    """
    trained, evaluated = losses_of(metrics, "train"), losses_of(metrics, "valid")
    if not trained or not summary.get("steps"):
        return None
    return sealed(
        {
            **{name: summary[name] for name in ("cell", "hash")},
            **seed_fields(line_seed(summary)),
            "device": summary["device"],
            "tokens_per_step": summary["tokens"] / summary["steps"],
            "flops_per_token": summary["flops_per_token"],
            "train": _with_cpu(_smoothed(trained), timing),
            "valid": _with_cpu(_spaced(evaluated), timing),
            **({"norms": norms} if (norms := norms_of(metrics)) else {}),
        }
    )


def losses_of(metrics: Iterable[Mapping[str, Any]], split: str) -> list[tuple[int, float]]:
    """(step, loss in nats) of each line of a metrics.jsonl that has one on a split."""
    found = [line for line in metrics if "loss" in line]
    return [(line["step"], line["loss"]) for line in found if line.get("split", "train") == split]


def norms_of(metrics: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """name → number at each position of the order, of the last line of a metrics.jsonl that has
    any; see `log.norms`."""
    last: dict[str, list[float]] = {}
    for line in metrics:
        last = {name: v for name, v in line.items() if isinstance(v, list)} or last
    return {name: [_digits(value) for value in values] for name, values in last.items()}


def read_curves(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `folder`/curves.jsonl; an empty list where there is no such file. A damaged one
    is named and left out."""
    return read_objects(Path(folder) / CURVES, REQUIRED)


def write_curves(
    folder: str | os.PathLike, curves: Iterable[Mapping[str, Any]], lines: Iterable[Line]
) -> None:
    """Replaces `folder`/curves.jsonl, where there are any: the last curve of each line's key, in
    the order of `lines`. Raises OSError where the disk refuses."""
    by_key = {key(curve): curve for curve in curves}
    kept = [by_key[key(line)] for line in lines if key(line) in by_key]
    if kept:
        write_objects(Path(folder) / CURVES, kept, REQUIRED)


def curve_rows(
    metrics: Iterable[Mapping[str, Any]], tokens_per_step: float, flops_per_token: int
) -> list[dict[str, int | float | str]]:
    """The losses in the lines of a metrics.jsonl, as rows of split, step, tokens, flops (of
    training), loss in nats."""
    return [
        {
            "split": line.get("split", "train"),
            "step": line["step"],
            "tokens": line["step"] * tokens_per_step,
            "flops": line["step"] * tokens_per_step * BACKWARD * flops_per_token,
            "loss": line["loss"],
        }
        for line in metrics
        if "loss" in line
    ]


@dataclass(frozen=True)
class Curve:
    """The losses of one seed in nats, after `steps`."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    tokens_per_step: float
    flops_per_token: float
    cpu_seconds: tuple[float, ...] | None

    @classmethod
    def of(cls, line: Mapping[str, Any], split: str = "valid") -> "Curve":
        """The curve of a split, train or valid, in a line of curves.jsonl."""
        part, cpu = line[split], line[split]["cpu_seconds"]
        return cls(
            tuple(part["step"]),
            tuple(part["loss"]),
            line["tokens_per_step"],
            line["flops_per_token"],
            None if cpu is None else tuple(cpu),
        )

    def spent(self, budget: str) -> tuple[float, ...]:
        """What each evaluation had taken of a budget, one of `specification.BUDGETS`; () where that
        is not known."""
        if budget == "cpu_seconds":
            return self.cpu_seconds or ()
        each = {"tokens": 1.0, "flops": BACKWARD * self.flops_per_token}[budget]
        return tuple(step * self.tokens_per_step * each for step in self.steps)

    def loss_at(self, budget: str, amount: float) -> float | None:
        """The loss where so much of a budget was spent, interpolated linearly between evaluations;
        None before the first and beyond the last."""
        spent = self.spent(budget)
        if not spent or not spent[0] <= amount <= spent[-1]:
            return None
        return float(np.interp(amount, spent, self.losses))


def _smoothed(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """(step, mean of the losses since the point before) at steps evenly apart in the logarithm."""
    steps = np.array([step for step, _ in points])
    edges = np.geomspace(steps[0], steps[-1], TRAINING_POINTS)
    edges[-1] = steps[-1]  # and not a rounding below
    part = np.searchsorted(edges, steps)
    losses = np.array([loss for _, loss in points], float)
    found = [np.flatnonzero(part == one) for one in np.unique(part)]
    return [(int(steps[those[-1]]), float(losses[those].mean())) for those in found]


def _spaced(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The points, of more than EVALUATIONS so many, evenly apart, the last among them."""
    if len(points) <= EVALUATIONS:
        return list(points)
    return [points[int(i)] for i in np.linspace(0, len(points) - 1, EVALUATIONS)]


def _with_cpu(
    points: Sequence[tuple[int, float]], timing: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    steps = [step for step, _ in points]
    cpu = None
    if timing and all("cpu_seconds" in line for line in timing):
        total = np.cumsum([line["cpu_seconds"] for line in timing])
        last = np.searchsorted([line["step"] for line in timing], steps, side="right") - 1
        cpu = [_digits(float(total[i]) if i >= 0 else 0.0) for i in last]
    return {"step": steps, "loss": [_digits(loss) for _, loss in points], "cpu_seconds": cpu}


def _digits(value: float) -> float:
    return float(f"{value:.6g}")
